//! The real service in front of the real simulator, both in this process and on ports of their own;
//! and a raw HTTP/2 peer, which sees what a gRPC client hides.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use gotoassist_grpc::{
    config::{ServeConfig, SimulateConfig, from_flags},
    proto::remote_support_service_client::RemoteSupportServiceClient,
    server::Server,
    simulator::{Control, Simulator},
};
use h2::{RecvStream, client::SendRequest};
use prost::Message;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

/// Longer than anything takes that goes right.
const LIMIT: Duration = Duration::from_secs(20);

/// What `future` gives, or a failure of the test.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it should have happened by now")
}

/// A service and its vendor, which run until this is dropped.
pub struct Harness {
    /// Changes the vendor, and knows what it was asked.
    pub vendor: Control,
    /// Where the service listens.
    pub address: SocketAddr,
    simulating: Option<JoinHandle<()>>,
    serving: JoinHandle<()>,
}

impl Harness {
    /// The service as it comes.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further flags of `serve`, in which `VENDOR` is the vendor's address; the last of the same
    /// name counts.
    pub async fn with(flags: &[&str]) -> Self {
        let config = SimulateConfig::on_free_port();
        let simulator = Simulator::bind(&config).await.expect("the simulator starts");
        let (vendor, vendor_address) = (simulator.control(), simulator.local_addr());
        let upstream = format!("--upstream-url={}", simulator.rest_url());
        let simulating = tokio::spawn(simulator.run(std::future::pending()));

        let place = |flag: &&str| flag.replace("VENDOR", &vendor_address.to_string());
        let flags: Vec<_> = flags.iter().map(place).collect();
        let flags = flags.iter().map(String::as_str);
        let own = ["--listen=127.0.0.1:0", &upstream];
        let config = serve_config(&own.into_iter().chain(flags).collect::<Vec<_>>());
        let server = Server::bind(config).await.expect("the service starts");
        let address = server.local_addr().expect("it listens on TCP");
        let serving = tokio::spawn(async {
            server.run(std::future::pending()).await.expect("the service runs");
        });
        Self { vendor, address, simulating: Some(simulating), serving }
    }

    /// A connection for any generated client.
    pub fn channel(&self) -> Channel {
        let address = format!("http://{}", self.address);
        Endpoint::from_shared(address).expect("an address").connect_lazy()
    }

    /// The generated client.
    pub fn client(&self) -> RemoteSupportServiceClient<Channel> {
        RemoteSupportServiceClient::new(self.channel())
    }

    /// A raw peer on a connection of its own.
    pub async fn peer(&self) -> Peer {
        let socket = TcpStream::connect(self.address).await.expect("the service listens");
        let (send, connection) = h2::client::handshake(socket).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(async { drop(connection.await) });
        Peer { send, connection }
    }

    /// The targets that the vendor was asked for, as they were sent.
    pub fn targets(&self) -> Vec<String> {
        self.vendor.counters().recent.into_iter().map(|seen| seen.target).collect()
    }

    /// Takes the vendor's port away.
    pub async fn stop_vendor(&mut self) {
        if let Some(task) = self.simulating.take() {
            task.abort();
            // The port is closed once the task has ended.
            let _ = task.await;
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.serving.abort();
        if let Some(task) = &self.simulating {
            task.abort();
        }
    }
}

/// What `serve` makes of these flags, untouched by the environment of whoever runs the tests.
pub fn serve_config(flags: &[&str]) -> ServeConfig {
    let own = ["--admin-listen=127.0.0.1:0"];
    from_flags([&own, flags].concat()).expect("flags of serve")
}

/// `message` by the right of a bearer token.
pub fn authorized<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let authorization = format!("Bearer {token}").parse().expect("a header's value");
    request.metadata_mut().insert("authorization", authorization);
    request
}

/// A raw HTTP/2 peer.
pub struct Peer {
    send: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

impl Peer {
    /// Calls a method of the service, and gives the answer as soon as its headers are there.
    pub async fn call(
        &self,
        method: &str,
        message: &impl Message,
        headers: &[(&str, &str)],
    ) -> http::Response<RecvStream> {
        let path = format!("gotoassist.remotesupport.v1.RemoteSupportService/{method}");
        let message = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).expect("a short message").to_be_bytes());
        frame.extend(message);
        self.post(&path, frame, headers).await
    }

    /// Sends any bytes to any path.
    pub async fn post(
        &self,
        path: &str,
        frame: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> http::Response<RecvStream> {
        let mut request = http::Request::post(format!("http://localhost/{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request, frame).await
    }

    /// Sends any request.
    pub async fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> http::Response<RecvStream> {
        let mut send = soon(self.send.clone().ready()).await.expect("room for a call");
        let request = request.body(()).expect("a request");
        let (response, mut stream) = send.send_request(request, false).expect("a stream");
        stream.send_data(body.into(), true).expect("the message goes out");
        soon(response).await.expect("an answer")
    }

    /// The error that a call gets, which must be one HEADERS frame with `END_STREAM` and nothing
    /// else: Trailers-Only.
    pub async fn refusal(
        &self,
        method: &str,
        message: &impl Message,
        headers: &[(&str, &str)],
    ) -> Status {
        trailers_only(&self.call(method, message, headers).await)
    }
}

/// The error in an answer that is nothing but headers.
pub fn trailers_only(response: &http::Response<RecvStream>) -> Status {
    assert_eq!(response.status(), 200, "{response:?}");
    assert_eq!(response.headers()["content-type"], "application/grpc", "{response:?}");
    assert!(response.body().is_end_stream(), "the headers end the stream: {response:?}");
    let status = Status::from_header_map(response.headers());
    let status = status.expect("the headers hold the status");
    assert_ne!(status.code(), tonic::Code::Ok, "{response:?}");
    status
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
