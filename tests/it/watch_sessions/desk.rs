//! A client of one stream of `WatchSessions`.

use gotoassist_grpc::proto::{
    AllSessions, WatchSessionRequest, WatchSessionResponse, WatchSessionsRequest,
    WatchSessionsResponse,
    remote_support_service_client::RemoteSupportServiceClient,
    watch_sessions_request::{Action, Add, Remove},
    watch_sessions_response::{Body, StreamHeartbeat},
};
use prost::Message as _;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, transport::Channel};

use crate::{
    kit::{
        request::{self, authorized},
        soon,
    },
    watch::world::{End, PATIENCE, Server},
};

/// A client of one stream.
pub struct Desk {
    /// `None` after the client has closed its side.
    requests: Option<mpsc::Sender<WatchSessionsRequest>>,
    pub messages: Streaming<WatchSessionsResponse>,
}

/// The content of a message.
#[derive(Debug)]
pub enum Told {
    /// A message of a session.
    Update(String, Box<WatchSessionResponse>),
    /// The end of a session.
    Ended(String, Status),
    Heartbeat(StreamHeartbeat),
}

/// A stream of requests, and where to put them.
pub fn requests() -> (mpsc::Sender<WatchSessionsRequest>, ReceiverStream<WatchSessionsRequest>) {
    let (sender, receiver) = mpsc::channel(100);
    (sender, ReceiverStream::new(receiver))
}

pub fn add(sessions: Vec<WatchSessionRequest>) -> WatchSessionsRequest {
    let add = Add { sessions, ..Add::default() };
    WatchSessionsRequest { action: Some(Action::Add(add)) }
}

pub fn remove(ids: &[&str]) -> WatchSessionsRequest {
    let session_ids = ids.iter().map(ToString::to_string).collect();
    let remove = Remove { session_ids, ..Remove::default() };
    WatchSessionsRequest { action: Some(Action::Remove(remove)) }
}

/// Adds the sessions of the account since this time, and these with their tokens.
pub fn add_all_since(
    from_time: Option<prost_types::Timestamp>,
    sessions: Vec<WatchSessionRequest>,
) -> WatchSessionsRequest {
    let all = Some(AllSessions { from_time });
    let add = Add { sessions, all, ..Add::default() };
    WatchSessionsRequest { action: Some(Action::Add(add)) }
}

impl Desk {
    /// A stream with the token `t`.
    pub async fn open(server: &Server) -> Self {
        Self::open_as(server, "t").await.unwrap()
    }

    pub async fn open_as(server: &Server, token: &str) -> Result<Self, Status> {
        Self::open_with(server, |stream| authorized(token, stream)).await
    }

    pub async fn open_with(
        server: &Server,
        request: impl FnOnce(
            ReceiverStream<WatchSessionsRequest>,
        ) -> Request<ReceiverStream<WatchSessionsRequest>>,
    ) -> Result<Self, Status> {
        let (sender, stream) = requests();
        let opened = timeout(PATIENCE, server.client().watch_sessions(request(stream))).await;
        Ok(Self { requests: Some(sender), messages: opened.unwrap()?.into_inner() })
    }

    /// A stream on a connection, with the token `t`.
    pub async fn connect(channel: &Channel) -> Result<Self, Status> {
        let (sender, stream) = requests();
        let mut client = RemoteSupportServiceClient::new(channel.clone());
        let opened = soon(client.watch_sessions(authorized("t", stream))).await;
        Ok(Self { requests: Some(sender), messages: opened?.into_inner() })
    }

    /// Sends a request. A stream that has ended takes none; its end says why.
    pub async fn send(&self, request: WatchSessionsRequest) {
        let _ = self.requests.as_ref().unwrap().send(request).await;
    }

    pub async fn add_all(&self, sessions: Vec<WatchSessionRequest>) {
        self.send(add(sessions)).await;
    }

    pub async fn add(&self, ids: &[&str]) {
        self.add_all(ids.iter().map(|id| request::watch(id)).collect()).await;
    }

    pub async fn remove(&self, ids: &[&str]) {
        self.send(remove(ids)).await;
    }

    /// Closes the client's side.
    pub fn close(&mut self) {
        self.requests = None;
    }

    /// The next message of any kind.
    pub async fn any(&mut self) -> Result<Told, End> {
        match timeout(PATIENCE, self.messages.message()).await.expect("no end, no message") {
            Ok(Some(message)) => Ok(Told::of(message)),
            Ok(None) => Err(End::Ok),
            Err(status) => Err(End::Error(status)),
        }
    }

    /// The next message that is no heartbeat of the stream.
    pub async fn next(&mut self) -> Result<Told, End> {
        loop {
            match self.any().await? {
                Told::Heartbeat(_) => {}
                told @ (Told::Update(..) | Told::Ended(..)) => return Ok(told),
            }
        }
    }

    /// The next message, which must be an update.
    pub async fn update(&mut self) -> (String, WatchSessionResponse) {
        match self.next().await.unwrap() {
            Told::Update(session, update) => (session, *update),
            other => panic!("no update: {other:?}"),
        }
    }

    /// The next message, which must be the end of a session.
    pub async fn ended(&mut self) -> (String, Status) {
        match self.next().await.unwrap() {
            Told::Ended(session, status) => (session, status),
            other => panic!("no end of a session: {other:?}"),
        }
    }

    /// The next heartbeat of the stream.
    pub async fn heartbeat(&mut self) -> StreamHeartbeat {
        loop {
            if let Told::Heartbeat(heartbeat) = self.any().await.unwrap() {
                return heartbeat;
            }
        }
    }

    /// All messages until the end of the stream, without heartbeats.
    pub async fn rest(&mut self) -> (Vec<Told>, End) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Ok(message) => messages.push(message),
                Err(end) => return (messages, end),
            }
        }
    }
}

impl Told {
    pub fn of(message: WatchSessionsResponse) -> Self {
        let session = message.session_id;
        match message.body.expect("a body") {
            Body::Update(update) => Self::Update(session, Box::new(update)),
            Body::Ended(status) => Self::Ended(session, to_status(&status)),
            Body::Heartbeat(heartbeat) => {
                assert_eq!(session, "", "a heartbeat is about no session");
                Self::Heartbeat(heartbeat)
            }
        }
    }

    pub fn session(&self) -> &str {
        match self {
            Told::Update(session, _) | Told::Ended(session, _) => session,
            Told::Heartbeat(_) => "",
        }
    }
}

/// The status that a stream of `WatchSession` would have ended with.
fn to_status(status: &tonic_types::Status) -> Status {
    let code = Code::from_i32(status.code);
    if code == Code::Ok {
        return Status::ok("");
    }
    Status::with_details(code, status.message.clone(), status.encode_to_vec().into())
}
