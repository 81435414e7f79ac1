//! The client behind `get`, `sessions`, `links`, `watch` and `health`, which other programs can use too. It
//! takes several addresses, reads credentials from a file, and resumes watches by itself.

pub mod connection;
pub mod credential;
pub mod failure;
mod retry;
mod unreachable;
pub mod watch;
pub mod watch_many;

use std::{future::Future, path::PathBuf, time::Duration};

use futures_util::StreamExt as _;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::{
    config::ConnectionConfig,
    proto::{
        GetSessionRequest, GetSessionResponse, ListSessionsRequest, ListSessionsResponse,
        ListSystemLinksRequest, ListSystemLinksResponse, WatchSessionRequest,
        health::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient},
        remote_support_service_client::RemoteSupportServiceClient,
    },
};
use credential::Credential;

pub use failure::Failure;
pub use retry::Interruption;
pub use watch::ResumingWatch;
pub use watch_many::{ResumingWatches, WatchMany};

/// Longest time to open a watch. The service answers after the vendor's first good answer, or after
/// its own retries.
const OPENING_LIMIT: Duration = Duration::from_mins(1);
/// Metadata with the session id. A proxy in front of several replicas can route all callers of a
/// session to the same replica, where they share a poll. The service itself does not read it.
const SESSION_METADATA: &str = "session-id";
/// The characters that metadata cannot carry without percent-encoding.
const UNPRINTABLE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
/// The precision of timers.
const TICK: Duration = Duration::from_millis(2);

/// Why a client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the configuration cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The credential cannot be sent in a header.
    #[error("the credential is empty or has characters that cannot be sent")]
    Credential,
    /// The configuration has certificates for an address without TLS.
    #[error("certificates need an https:// address, and {address} is not one")]
    CertificateWithoutTls {
        /// The address.
        address: String,
    },
    /// The address or the certificates cannot be used.
    #[error("cannot use {address}: {reason}")]
    Address {
        /// The address.
        address: String,
        /// The cause.
        reason: String,
    },
}

/// A client of one service, which may have several addresses.
#[derive(Clone, Debug)]
pub struct Client {
    channels: Vec<Channel>,
    credential: Credential,
}

impl Client {
    /// Creates a client of the service at `config.server`. It connects at the first call.
    pub fn connect(config: &ConnectionConfig) -> Result<Self, Error> {
        let channels = config
            .server
            .iter()
            .map(|address| connection::channel(address, config))
            .collect::<Result<_, _>>()?;
        Ok(Self { channels, credential: Credential::new(&config.credential)? })
    }

    /// Calls `GetSession`, with the deadline `limit`.
    pub async fn get_session(
        &self,
        session_id: &str,
        limit: Duration,
    ) -> Result<GetSessionResponse, Failure> {
        let message = GetSessionRequest { session_id: session_id.to_owned() };
        self.unary(message, limit, async |channel, mut request| {
            name_session(&mut request, session_id);
            RemoteSupportServiceClient::new(channel).get_session(request).await
        })
        .await
    }

    /// Calls `ListSessions` for one page, with the deadline `limit`.
    pub async fn list_sessions(
        &self,
        message: ListSessionsRequest,
        limit: Duration,
    ) -> Result<ListSessionsResponse, Failure> {
        self.unary(message, limit, async |channel, request| {
            RemoteSupportServiceClient::new(channel).list_sessions(request).await
        })
        .await
    }

    /// Calls `ListSystemLinks`, with the deadline `limit`.
    pub async fn list_system_links(
        &self,
        system_domain: &str,
        limit: Duration,
    ) -> Result<ListSystemLinksResponse, Failure> {
        let message = ListSystemLinksRequest { system_domain: system_domain.to_owned() };
        self.unary(message, limit, async |channel, request| {
            RemoteSupportServiceClient::new(channel).list_system_links(request).await
        })
        .await
    }

    /// Calls `Check` of grpc.health.v1, with the deadline `limit`.
    pub async fn health(
        &self,
        service: &str,
        limit: Duration,
    ) -> Result<HealthCheckResponse, Failure> {
        let message = HealthCheckRequest { service: service.to_owned() };
        self.unary(message, limit, async |channel, request| {
            HealthClient::new(channel).check(request).await
        })
        .await
    }

    /// Calls `WatchSession`, and resumes the watch whenever its stream breaks. Each new stream goes
    /// to the next address.
    pub fn watch(&self, request: WatchSessionRequest) -> ResumingWatch {
        let client = self.clone();
        let mut channels = self.channels.clone().into_iter().cycle();
        ResumingWatch::new(request, move |message| {
            let channel = channels.next();
            let credential = client.credential.clone();
            Box::pin(async move {
                let channel = channel.ok_or_else(failure::no_address)?;
                let session_id = message.session_id.clone();
                let mut request = credential.apply(message)?;
                name_session(&mut request, &session_id);
                let mut stub = RemoteSupportServiceClient::new(channel);
                match timeout(OPENING_LIMIT, stub.watch_session(request)).await {
                    Ok(answer) => Ok(answer?.into_inner().boxed()),
                    Err(_) => Err(failure::too_late(OPENING_LIMIT)),
                }
            })
        })
    }

    /// Calls `WatchSessions`, and resumes all watches whenever the stream breaks. Each new stream
    /// goes to the next address.
    pub fn watch_many(&self, watch: WatchMany) -> ResumingWatches {
        let client = self.clone();
        let mut channels = self.channels.clone().into_iter().cycle();
        ResumingWatches::new(watch, move |requests| {
            let channel = channels.next();
            let credential = client.credential.clone();
            Box::pin(async move {
                let channel = channel.ok_or_else(failure::no_address)?;
                let request = credential.apply(UnboundedReceiverStream::new(requests))?;
                let mut stub = RemoteSupportServiceClient::new(channel);
                match timeout(OPENING_LIMIT, stub.watch_sessions(request)).await {
                    Ok(answer) => Ok(answer?.into_inner().boxed()),
                    Err(_) => Err(failure::too_late(OPENING_LIMIT)),
                }
            })
        })
    }

    /// Makes a call at the first address that can be reached.
    async fn unary<M: Clone, A>(
        &self,
        message: M,
        limit: Duration,
        call: impl AsyncFn(Channel, Request<M>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        let deadline = Instant::now() + limit;
        let mut last = failure::no_address();
        for channel in &self.channels {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut request = self.credential.apply(message.clone())?;
            request.set_timeout(left);
            match within(left, limit, call(channel.clone(), request)).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.is_unreachable() => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }
}

fn name_session<M>(request: &mut Request<M>, session_id: &str) {
    let value = utf8_percent_encode(session_id, UNPRINTABLE).to_string();
    if let Ok(value) = value.parse() {
        request.metadata_mut().insert(SESSION_METADATA, value);
    }
}

async fn within<A>(
    left: Duration,
    limit: Duration,
    call: impl Future<Output = Result<Response<A>, Status>>,
) -> Result<A, Failure> {
    let deadline = Instant::now() + left;
    match timeout_at(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        // tonic reports its own timer as CANCELLED. The actual cause is that the deadline has
        // passed.
        Ok(Err(status))
            if status.code() == Code::Cancelled && Instant::now() + TICK >= deadline =>
        {
            Err(failure::too_late(limit))
        }
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(failure::too_late(limit)),
    }
}
