//! A fake service with scripted answers, over a real socket. Only the tests of the client use it.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use gotoassist_grpc::{
    client::watch::Messages,
    proto::{
        GetSessionRequest, GetSessionResponse, ListSessionsRequest, ListSessionsResponse,
        ListSystemLinksRequest, ListSystemLinksResponse, Session, SessionStatus, SystemLink,
        WatchSessionRequest, WatchSessionResponse, WatchSessionsRequest, WatchSessionsResponse,
        remote_support_service_server::{RemoteSupportService, RemoteSupportServiceServer},
        watch_session_response::EventType,
    },
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Server, ServerTlsConfig},
};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How a stream ends.
#[derive(Clone)]
pub enum End {
    Ok,
    With(Status),
    /// Open until the client leaves or the service stops.
    Never,
}

/// The messages and the end of one stream.
pub struct Script(pub Vec<WatchSessionResponse>, pub End);

/// The running service. When it is dropped, its connections break as if its process were killed.
pub struct FakeService {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Seen {
    scripts: Mutex<VecDeque<Script>>,
    watches: Mutex<Vec<WatchSessionRequest>>,
    lists: Mutex<Vec<ListSessionsRequest>>,
    authorizations: Mutex<Vec<String>>,
    session_names: Mutex<Vec<String>>,
}

impl FakeService {
    pub fn start(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self::start_at("127.0.0.1:0", scripts)
    }

    pub fn start_at(address: &str, scripts: impl IntoIterator<Item = Script>) -> Self {
        Self::launch(address, Server::builder(), scripts)
    }

    pub fn start_secured(tls: ServerTlsConfig) -> Self {
        Self::launch("127.0.0.1:0", Server::builder().tls_config(tls).unwrap(), [])
    }

    fn launch(
        address: &str,
        mut server: Server,
        scripts: impl IntoIterator<Item = Script>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let seen = Arc::new(Seen::default());
        seen.scripts.lock().unwrap().extend(scripts);
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let answering = Answering(seen.clone());
        runtime.spawn(async move {
            let (reporter, health) = tonic_health::server::health_reporter();
            reporter.set_service_status("gone", tonic_health::ServingStatus::NotServing).await;
            let listener = TcpListener::from_std(listener).unwrap();
            server
                .add_service(RemoteSupportServiceServer::new(answering))
                .add_service(health)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { address, seen, runtime: Some(runtime) }
    }

    /// Stops the service as [`Drop`] does, and waits until its port is free.
    pub fn stop(mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests of all watches so far.
    pub fn watches(&self) -> Vec<WatchSessionRequest> {
        self.seen.watches.lock().unwrap().clone()
    }

    /// The requests for lists so far.
    pub fn lists(&self) -> Vec<ListSessionsRequest> {
        self.seen.lists.lock().unwrap().clone()
    }

    /// The `authorization` of all calls so far.
    pub fn authorizations(&self) -> Vec<String> {
        self.seen.authorizations.lock().unwrap().clone()
    }

    /// The `session-id` metadata of all calls so far.
    pub fn session_names(&self) -> Vec<String> {
        self.seen.session_names.lock().unwrap().clone()
    }
}

impl Drop for FakeService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The length of the list.
const SESSIONS: usize = 7;

struct Answering(Arc<Seen>);

impl Answering {
    fn note<M>(&self, request: &Request<M>) {
        let value = |name| match request.metadata().get(name) {
            Some(value) => value.to_str().unwrap().to_owned(),
            None => String::new(),
        };
        self.0.authorizations.lock().unwrap().push(value("authorization"));
        self.0.session_names.lock().unwrap().push(value("session-id"));
    }
}

#[tonic::async_trait]
impl RemoteSupportService for Answering {
    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        self.note(&request);
        match request.get_ref().session_id.as_str() {
            "missing" => Err(missing()),
            "slow" => std::future::pending().await,
            _ => Ok(Response::new(GetSessionResponse {
                session: Some(session(SessionStatus::Active)),
                observed_at: Some(prost_types::Timestamp { seconds: 1_619_762_400, nanos: 0 }),
            })),
        }
    }

    /// Seven sessions, in pages as long as asked. A page token is the number of sessions before.
    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        self.note(&request);
        let request = request.into_inner();
        self.0.lists.lock().unwrap().push(request.clone());
        let begin = request.page_token.parse().unwrap_or(0);
        let end = (begin + usize::try_from(request.page_size).unwrap()).min(SESSIONS);
        let sessions = (begin..end).map(|number| Session {
            session_id: number.to_string(),
            ..session(SessionStatus::Active)
        });
        Ok(Response::new(ListSessionsResponse {
            sessions: sessions.collect(),
            next_page_token: if end < SESSIONS { end.to_string() } else { String::new() },
            observed_at: None,
        }))
    }

    async fn list_system_links(
        &self,
        request: Request<ListSystemLinksRequest>,
    ) -> Result<Response<ListSystemLinksResponse>, Status> {
        self.note(&request);
        Ok(Response::new(ListSystemLinksResponse {
            system_links: vec![SystemLink {
                system_domain: request.into_inner().system_domain,
                callback_url: "https://partner.example/tickets".to_owned(),
                ..SystemLink::default()
            }],
        }))
    }

    type WatchSessionStream = Messages;

    async fn watch_session(
        &self,
        request: Request<WatchSessionRequest>,
    ) -> Result<Response<Messages>, Status> {
        self.note(&request);
        self.0.watches.lock().unwrap().push(request.into_inner());
        let script = self.0.scripts.lock().unwrap().pop_front();
        let Some(Script(messages, end)) = script else {
            return Err(Status::internal("the test expected no further watch"));
        };
        Ok(Response::new(play(messages, end)))
    }

    type WatchSessionsStream = BoxStream<'static, Result<WatchSessionsResponse, Status>>;

    async fn watch_sessions(
        &self,
        request: Request<Streaming<WatchSessionsRequest>>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        self.note(&request);
        Err(Status::internal("the test expected no stream"))
    }
}

/// The stream of a script.
pub fn play(messages: Vec<WatchSessionResponse>, end: End) -> Messages {
    let messages = stream::iter(messages.into_iter().map(Ok));
    match end {
        End::Ok => messages.boxed(),
        End::With(status) => messages.chain(stream::iter([Err(status)])).boxed(),
        End::Never => messages.chain(stream::pending()).boxed(),
    }
}

/// A message of a watch in `status`, with a token named after the number.
pub fn message(number: u32, status: SessionStatus) -> WatchSessionResponse {
    WatchSessionResponse {
        event_type: if number == 1 { EventType::Snapshot } else { EventType::Changed }.into(),
        session: Some(session(status)),
        resume_token: format!("token-{number}"),
        terminal: status == SessionStatus::Complete,
        ..WatchSessionResponse::default()
    }
}

pub fn session(status: SessionStatus) -> Session {
    Session {
        session_id: "250040353".to_owned(),
        status: status.into(),
        account_key: "99999822536216596540".to_owned(),
        started_at: Some(prost_types::Timestamp { seconds: 1_619_762_400, nanos: 250_000_000 }),
        ..Session::default()
    }
}

/// An error with every detail that the API may send.
pub fn missing() -> Status {
    let mut details = ErrorDetails::new();
    details
        .set_error_info("SESSION_NOT_FOUND", "remotesupport.gotoassist", HashMap::new())
        .set_resource_info("session", "1", "", "unknown to this account")
        .add_help_link("sessions", "https://developer.goto.com/");
    Status::with_error_details(Code::NotFound, "the session is unknown", details)
}

/// An end of a watch as the service sends it: with a reason, and a retry delay if there is one.
pub fn ending(code: Code, reason: &str, retry_after: Option<Duration>) -> Status {
    let mut details =
        ErrorDetails::with_error_info(reason, "remotesupport.gotoassist", HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, "the stream ends", details)
}
