//! The baseline: tonic and an HTTP client without any feature. It has no limits, retries, quota,
//! metrics or log, and its only error is UNAVAILABLE.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::proto::{
    self,
    remote_support_service_server::{RemoteSupportService, RemoteSupportServiceServer},
    watch_session_response::EventType,
};
use anyhow::Result;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy, rt::TokioExecutor};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status, Streaming};

/// The poll interval of a watched session. A longer one would delay updates, and an event would
/// cost the same.
const POLL: Duration = Duration::from_secs(1);

/// The command line of the baseline.
#[derive(Args)]
pub struct Bare {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Base URL of the vendor.
    #[arg(long)]
    upstream_url: String,
    /// HTTP client for upstream requests.
    #[arg(long)]
    client: Client,
}

/// An HTTP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// The client of hyper-util.
    Hyper,
    /// The client of reqwest.
    Reqwest,
}

/// Serves until killed.
pub async fn serve(bare: Bare) -> Result<()> {
    let upstream = match bare.client {
        Client::Hyper => {
            Upstream::Hyper(legacy::Client::builder(TokioExecutor::new()).build_http())
        }
        Client::Reqwest => {
            let _ = rustls::crypto::ring::default_provider().install_default();
            // The system may have no certificate authorities.
            Upstream::Reqwest(reqwest::Client::builder().tls_certs_only([]).no_proxy().build()?)
        }
    };
    let service =
        Service(Arc::new(Shared { upstream, base: bare.upstream_url, sessions: Mutex::default() }));
    tonic::transport::Server::builder()
        .add_service(RemoteSupportServiceServer::new(service))
        .serve(bare.listen)
        .await?;
    Ok(())
}

#[derive(Clone)]
struct Service(Arc<Shared>);

struct Shared {
    upstream: Upstream,
    base: String,
    sessions: Mutex<HashMap<String, broadcast::Sender<proto::WatchSessionResponse>>>,
}

enum Upstream {
    Hyper(legacy::Client<legacy::connect::HttpConnector, Empty<Bytes>>),
    Reqwest(reqwest::Client),
}

impl Shared {
    async fn body(&self, id: &str, authorization: &str) -> Result<Bytes> {
        let url = format!("{}/sessions/{id}", self.base);
        Ok(match &self.upstream {
            Upstream::Hyper(client) => {
                let request = http::Request::get(url)
                    .header(AUTHORIZATION, authorization)
                    .body(Empty::new())?;
                client.request(request).await?.into_body().collect().await?.to_bytes()
            }
            Upstream::Reqwest(client) => {
                let request = client.get(url).header(AUTHORIZATION, authorization);
                request.send().await?.bytes().await?
            }
        })
    }

    async fn session(&self, id: &str, headers: &HeaderMap) -> Result<proto::Session, Status> {
        let authorization = authorization(headers)?;
        let body = self.body(id, authorization).await;
        let body = body.map_err(|_| Status::unavailable("GoToAssist does not answer"))?;
        let session: Session = serde_json::from_slice(&body)
            .map_err(|_| Status::internal("GoToAssist's answer is no session"))?;
        Ok(session.into())
    }

    /// Polls until the process ends.
    async fn poll(self: Arc<Self>, id: String, headers: HeaderMap, mut last: proto::Session) {
        loop {
            tokio::time::sleep(POLL).await;
            let Ok(session) = self.session(&id, &headers).await else { continue };
            if session != last {
                last = session.clone();
                let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(watchers) = sessions.get(&id) {
                    let _ = watchers.send(message(EventType::Changed, session));
                }
            }
        }
    }
}

fn authorization(headers: &HeaderMap) -> Result<&str, Status> {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Status::unauthenticated("no authorization"))
}

/// A message of the same size as the service's. The resume token is not a real one.
fn message(event_type: EventType, session: proto::Session) -> proto::WatchSessionResponse {
    let is_change = event_type == EventType::Changed;
    proto::WatchSessionResponse {
        event_type: event_type.into(),
        session: Some(session),
        changed_fields: is_change
            .then(|| prost_types::FieldMask { paths: vec!["notes".to_owned()] }),
        observed_at: Some(timestamp(Timestamp::now())),
        resume_token: "v1.".to_owned() + &"x".repeat(RESUME_TOKEN - 3),
        ..Default::default()
    }
}

/// Length of the service's resume tokens in bytes.
const RESUME_TOKEN: usize = 214;

#[tonic::async_trait]
impl RemoteSupportService for Service {
    async fn get_session(
        &self,
        request: Request<proto::GetSessionRequest>,
    ) -> Result<Response<proto::GetSessionResponse>, Status> {
        let session =
            self.0.session(&request.get_ref().session_id, request.metadata().as_ref()).await?;
        Ok(Response::new(proto::GetSessionResponse {
            session: Some(session),
            observed_at: Some(timestamp(Timestamp::now())),
        }))
    }

    async fn list_sessions(
        &self,
        _: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        Err(Status::unimplemented("not compared"))
    }

    async fn list_system_links(
        &self,
        _: Request<proto::ListSystemLinksRequest>,
    ) -> Result<Response<proto::ListSystemLinksResponse>, Status> {
        Err(Status::unimplemented("not compared"))
    }

    type WatchSessionsStream = futures_util::stream::Empty<Result<proto::WatchSessionsResponse, Status>>;

    async fn watch_sessions(
        &self,
        _: Request<Streaming<proto::WatchSessionsRequest>>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        Err(Status::unimplemented("not compared"))
    }

    type WatchSessionStream =
        Pin<Box<dyn Stream<Item = Result<proto::WatchSessionResponse, Status>> + Send>>;

    async fn watch_session(
        &self,
        request: Request<proto::WatchSessionRequest>,
    ) -> Result<Response<Self::WatchSessionStream>, Status> {
        let headers = request.metadata().as_ref();
        let id = &request.get_ref().session_id;
        let session = self.0.session(id, headers).await?;
        let changes = {
            let mut sessions = self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let watchers = sessions.entry(id.clone()).or_insert_with(|| {
                let shared = Arc::clone(&self.0);
                tokio::spawn(shared.poll(id.clone(), headers.clone(), session.clone()));
                broadcast::Sender::new(16)
            });
            watchers.subscribe()
        };
        let first = futures_util::stream::iter([Ok(message(EventType::Snapshot, session))]);
        let changes = BroadcastStream::new(changes)
            .map(|change| change.map_err(|_| Status::resource_exhausted("too slow")));
        Ok(Response::new(Box::pin(first.chain(changes))))
    }
}

/// A session as the vendor writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Session {
    session_id: String,
    session_type: String,
    status: String,
    account_key: String,
    expert_name: Option<String>,
    expert_email: Option<String>,
    expert_user_key: Option<String>,
    partner_object: Option<String>,
    partner_object_url: Option<String>,
    started_at: Option<Timestamp>,
    customer_joined_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    unattended_machine_name: Option<String>,
    unattended_machine_uuid: Option<String>,
    account_name: Option<String>,
    customer_name: Option<String>,
    customer_email: Option<String>,
    customer_join_url: Option<String>,
    notes: Option<String>,
    session_recording_url: Option<String>,
}

impl From<Session> for proto::Session {
    fn from(session: Session) -> Self {
        let status = match session.status.as_str() {
            "notStarted" => proto::SessionStatus::NotStarted,
            "waiting" => proto::SessionStatus::Waiting,
            "active" => proto::SessionStatus::Active,
            "complete" => proto::SessionStatus::Complete,
            "abandoned" => proto::SessionStatus::Abandoned,
            _ => proto::SessionStatus::Unspecified,
        };
        Self {
            session_id: session.session_id,
            session_type: session.session_type,
            status: status.into(),
            upstream_status: session.status,
            account_key: session.account_key,
            expert_name: session.expert_name,
            expert_email: session.expert_email,
            expert_user_key: session.expert_user_key,
            partner_object: session.partner_object,
            partner_object_url: session.partner_object_url,
            started_at: session.started_at.map(timestamp),
            customer_joined_at: session.customer_joined_at.map(timestamp),
            ended_at: session.ended_at.map(timestamp),
            unattended_machine_name: session.unattended_machine_name,
            unattended_machine_uuid: session.unattended_machine_uuid,
            account_name: session.account_name,
            customer_name: session.customer_name,
            customer_email: session.customer_email,
            customer_join_url: session.customer_join_url,
            notes: session.notes,
            session_recording_url: session.session_recording_url,
            collaborators: Vec::new(),
            additional_fields: None,
        }
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
