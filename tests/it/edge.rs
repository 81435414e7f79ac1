//! The server's edge over real sockets: connections, deadlines, TLS, ends of calls, and the answers
//! on the wire. Behind it is a fake service, which does what `session_id` says.

mod accept;
mod admin;
mod call;
mod deadline;
mod health;
mod incomplete;
mod resets;
mod tls;

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use gotoassist_grpc::{
    admin::failures::Failures,
    config::listen::ListenAddress,
    grpc::{health::Health, peer::Peer, status},
    proto::{
        GetSessionRequest, GetSessionResponse, ListSessionsRequest, ListSessionsResponse,
        ListSystemLinksRequest, ListSystemLinksResponse, WatchSessionRequest, WatchSessionResponse,
        WatchSessionsRequest, WatchSessionsResponse,
        remote_support_service_server::{RemoteSupportService, RemoteSupportServiceServer},
    },
    server::{
        accept::Acceptor,
        call::{CallSettings, Calls},
        gate::Gate,
        http2,
        listen::Listener,
        tls::Tls,
    },
    trace::Tracer,
};
use http::HeaderMap;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, service::Routes};

use crate::kit::{
    peer::{self, USUAL_WINDOW},
    request, soon,
};

/// Longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fake service. `session_id` says how it answers.
struct Play;

type Messages = Pin<Box<dyn Stream<Item = Result<WatchSessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RemoteSupportService for Play {
    async fn get_session(
        &self,
        request: tonic::Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        match request.get_ref().session_id.as_str() {
            "silent" => std::future::pending().await,
            "panic" => panic!("as asked"),
            "missing" => Err(Status::not_found("no such session")),
            "rotated" => Err(status::stream_rotated()),
            "draining" => Err(status::draining()),
            "slow" => Err(status::slow_watcher()),
            _ => {
                let peer = request.extensions().get::<Peer>().expect("every call has a peer");
                let mut response = Response::new(GetSessionResponse::default());
                let certificates = peer.certificates().len().to_string();
                response.metadata_mut().insert("certificates", certificates.parse().unwrap());
                Ok(response)
            }
        }
    }

    async fn list_sessions(
        &self,
        _: tonic::Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        Ok(Response::new(ListSessionsResponse::default()))
    }

    async fn list_system_links(
        &self,
        _: tonic::Request<ListSystemLinksRequest>,
    ) -> Result<Response<ListSystemLinksResponse>, Status> {
        Ok(Response::new(ListSystemLinksResponse::default()))
    }

    type WatchSessionStream = Messages;

    async fn watch_session(
        &self,
        request: tonic::Request<WatchSessionRequest>,
    ) -> Result<Response<Messages>, Status> {
        let first = stream::once(async { Ok(WatchSessionResponse::default()) });
        Ok(Response::new(match request.get_ref().session_id.as_str() {
            "short" => first.boxed(),
            "panic" => {
                let later = stream::once(async {
                    // Without this, the first message would still be in tonic's buffer, and
                    // would be lost.
                    tokio::task::yield_now().await;
                    panic!("as asked")
                });
                first.chain(later).boxed()
            }
            "busy" => stream::repeat_with(|| Ok(WatchSessionResponse::default())).boxed(),
            _ => first.chain(stream::pending()).boxed(),
        }))
    }

    type WatchSessionsStream = stream::Pending<Result<WatchSessionsResponse, Status>>;

    async fn watch_sessions(
        &self,
        _: tonic::Request<tonic::Streaming<WatchSessionsRequest>>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        Ok(Response::new(stream::pending()))
    }
}

/// A running server with a fake service.
struct Edge {
    address: ListenAddress,
    gate: Gate,
    health: Health,
    failures: Failures,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

#[derive(Clone)]
struct Settings {
    max_connections: usize,
    opening: Duration,
    call_limit: Duration,
    http2: http2::Settings,
    tls: Option<Arc<Tls>>,
    log_ok_calls: f64,
}

impl Default for Settings {
    fn default() -> Self {
        let http2 = http2::Settings {
            max_streams: 1000,
            max_header_list: 16 * 1024,
            max_age: None,
            age_grace: PATIENCE,
        };
        Self {
            max_connections: 100,
            opening: PATIENCE,
            call_limit: PATIENCE,
            http2,
            tls: None,
            log_ok_calls: 1.0,
        }
    }
}

impl Edge {
    async fn start(settings: Settings) -> Self {
        Self::serve(Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap(), settings)
    }

    fn serve(listener: Listener, settings: Settings) -> Self {
        let address = listener.local_address().clone();
        let gate = Gate::new(settings.max_connections);
        let (health, failures) = (Health::default(), Failures::default());
        let routes = Routes::new(RemoteSupportServiceServer::new(Play))
            .add_service(health.service())
            .prepare();
        let stop = CancellationToken::new();
        let calls = CallSettings {
            log_ok_calls: settings.log_ok_calls,
            default_deadline: settings.call_limit,
            failures: failures.clone(),
            tracer: Tracer::default(),
            drain: stop.clone(),
        };
        let acceptor = Acceptor {
            tls: settings.tls,
            handshake_timeout: settings.opening,
            gate: gate.clone(),
            http2: settings.http2,
            calls: Calls::new(routes, calls),
            stop: stop.clone(),
        };
        let served = tokio::spawn(acceptor.serve(listener));
        Self { address, gate, health, failures, stop, served }
    }

    /// Starts a graceful shutdown.
    fn shut_down(&self) {
        self.gate.drain();
        self.stop.cancel();
    }

    async fn socket(&self) -> TcpStream {
        match &self.address {
            ListenAddress::Tcp(address) => TcpStream::connect(address).await.unwrap(),
            ListenAddress::Unix(_) => panic!("not over TCP"),
        }
    }

    async fn client(&self) -> Client {
        Client::over(self.socket().await).await
    }
}

/// A raw HTTP/2 peer, which sees frames that a gRPC client hides.
struct Client {
    send: h2::client::SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

struct Answer {
    headers: HeaderMap,
    messages: usize,
    trailers: Option<HeaderMap>,
    took: Duration,
}

impl Answer {
    /// The status, and whether the answer was a single frame (Trailers-Only).
    fn status(&self) -> (Status, bool) {
        match Status::from_header_map(&self.headers) {
            Some(status) => (status, true),
            None => (Status::from_header_map(self.trailers.as_ref().unwrap()).unwrap(), false),
        }
    }
}

impl Client {
    async fn over<S>(socket: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        Self::try_over(socket).await.expect("the server speaks HTTP/2")
    }

    async fn try_over<S>(socket: S) -> Option<Self>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let peer = peer::Peer::over(socket, USUAL_WINDOW).await.ok()?;
        Some(Self { send: peer.send, connection: peer.connection })
    }

    async fn begin(
        &mut self,
        method: &str,
        session_id: &str,
        headers: &[(&str, &str)],
    ) -> Result<http::Response<h2::RecvStream>, h2::Error> {
        // In both request messages, this is the first field.
        let message = request::session(session_id);
        peer::post(&self.send, &peer::path_of(method), peer::frame(&message), headers).await
    }

    async fn watch_health(&mut self) -> Result<http::Response<h2::RecvStream>, h2::Error> {
        peer::post(&self.send, "grpc.health.v1.Health/Watch", peer::frame(&()), &[]).await
    }

    async fn call(
        &mut self,
        method: &str,
        session_id: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, h2::Error> {
        let start = Instant::now();
        let (parts, mut body) = soon(self.begin(method, session_id, headers)).await?.into_parts();
        let mut messages = 0;
        while let Some(data) = soon(body.data()).await {
            messages += 1;
            body.flow_control().release_capacity(data?.len())?;
        }
        let trailers = soon(body.trailers()).await?;
        Ok(Answer { headers: parts.headers, messages, trailers, took: start.elapsed() })
    }
}
