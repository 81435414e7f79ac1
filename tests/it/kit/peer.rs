//! A raw HTTP/2 peer. It sees frames that a gRPC client hides, and controls how much it reads.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::Response;
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};
use tonic::Status;

use super::soon;

/// The initial window of HTTP/2, in bytes.
pub const USUAL_WINDOW: u32 = 65_535;

pub struct Peer {
    pub send: SendRequest<Bytes>,
    /// How many bytes the other side may send on a stream before this peer reads them.
    pub window: watch::Sender<u32>,
    /// The task of the connection. It continues after the peer is dropped, until all streams end.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

impl Peer {
    pub async fn connect(address: impl tokio::net::ToSocketAddrs) -> Self {
        Self::connect_with(address, USUAL_WINDOW).await
    }

    /// Connects with the given window.
    pub async fn connect_with(address: impl tokio::net::ToSocketAddrs, window: u32) -> Self {
        let socket = TcpStream::connect(address).await.expect("somebody listens");
        // With Nagle's algorithm the requests would wait for acknowledgements.
        socket.set_nodelay(true).unwrap();
        Self::over(socket, window).await.expect("it speaks HTTP/2")
    }

    /// Connects over any transport.
    pub async fn over(
        socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        window: u32,
    ) -> Result<Self, h2::Error> {
        let handshake = h2::client::Builder::new().initial_window_size(window).handshake(socket);
        let (send, mut connection) = soon(handshake).await?;
        let (window, mut windows) = watch::channel(window);
        let connection = tokio::spawn(async move {
            loop {
                tokio::select! {
                    end = &mut connection => return end,
                    Ok(()) = windows.changed() => {
                        let window = *windows.borrow_and_update();
                        connection.set_initial_window_size(window)?;
                    }
                }
            }
        });
        Ok(Self { send, window, connection })
    }

    /// Calls a method of the service. Returns the answer when its headers arrive.
    pub async fn call(
        &self,
        method: &str,
        message: &impl Message,
        headers: &[(&str, &str)],
    ) -> Response<RecvStream> {
        self.post(&path_of(method), frame(message), headers).await
    }

    /// Sends any bytes to any path.
    pub async fn post(
        &self,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Response<RecvStream> {
        soon(post(&self.send, path, body, headers)).await.expect("an answer")
    }

    /// Sends any request.
    pub async fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Response<RecvStream> {
        soon(send(&self.send, request, body)).await.expect("an answer")
    }

    /// The error of a call. The answer must be Trailers-Only: one HEADERS frame with `END_STREAM`.
    pub async fn refusal(
        &self,
        method: &str,
        message: &impl Message,
        headers: &[(&str, &str)],
    ) -> Status {
        trailers_only(&self.call(method, message, headers).await)
    }
}

/// The messages of an answer, as frames on the wire.
pub struct Messages<M> {
    body: RecvStream,
    received: BytesMut,
    message: PhantomData<M>,
}

impl<M: Message + Default> Messages<M> {
    /// The messages of this answer, which must not be Trailers-Only.
    pub fn of(answer: Response<RecvStream>) -> Self {
        assert_eq!(answer.headers().get("grpc-status"), None);
        Self { body: answer.into_body(), received: BytesMut::new(), message: PhantomData }
    }

    /// The next message. `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<M> {
        loop {
            if let Some(header) = self.received.first_chunk::<5>() {
                let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
                let length = usize::try_from(length).unwrap();
                if self.received.len() >= 5 + length {
                    self.received.advance(5);
                    let message = self.received.split_to(length);
                    return Some(M::decode(message).unwrap());
                }
            }
            let data = soon(self.body.data()).await?.unwrap();
            self.body.flow_control().release_capacity(data.len()).unwrap();
            self.received.extend_from_slice(&data);
        }
    }

    /// The status in the trailers.
    pub async fn end(&mut self) -> Status {
        let trailers = soon(self.body.trailers()).await.unwrap().expect("trailers");
        Status::from_header_map(&trailers).expect("a status")
    }
}

/// Sends any bytes to any path.
pub async fn post(
    connection: &SendRequest<Bytes>,
    path: &str,
    body: Vec<u8>,
    headers: &[(&str, &str)],
) -> Result<Response<RecvStream>, h2::Error> {
    let mut request = http::Request::post(format!("http://localhost/{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(connection, request, body).await
}

async fn send(
    connection: &SendRequest<Bytes>,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Result<Response<RecvStream>, h2::Error> {
    let mut connection = connection.clone().ready().await?;
    let request = request.body(()).expect("a request");
    let (response, mut stream) = connection.send_request(request, false)?;
    stream.send_data(body.into(), true)?;
    response.await
}

/// The path of a method of the service.
pub fn path_of(method: &str) -> String {
    format!("gotoassist.remotesupport.v1.RemoteSupportService/{method}")
}

/// The frame of a message: not compressed, with its length in front.
pub fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).expect("a short message").to_be_bytes());
    frame.extend(message);
    frame
}

/// The error of an answer that has only headers.
pub fn trailers_only(response: &Response<RecvStream>) -> Status {
    assert_eq!(response.status(), 200, "{response:?}");
    assert_eq!(response.headers()["content-type"], "application/grpc", "{response:?}");
    assert!(response.body().is_end_stream(), "the headers end the stream: {response:?}");
    let status = Status::from_header_map(response.headers());
    let status = status.expect("the headers hold the status");
    assert_ne!(status.code(), tonic::Code::Ok, "{response:?}");
    status
}
