//! The small client behind `get`, `links`, `watch` and `health`, and of whoever wants its manners:
//! several addresses, credentials from a file, watches that resume by themselves.

pub mod connection;
pub mod credential;
pub mod failure;
pub mod watch;

use std::{future::Future, path::PathBuf, time::Duration};

use futures_util::StreamExt as _;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::{
    config::ConnectionConfig,
    proto::{
        GetSessionRequest, GetSessionResponse, ListSystemLinksRequest, ListSystemLinksResponse,
        WatchSessionRequest,
        health::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient},
        remote_support_service_client::RemoteSupportServiceClient,
    },
};
use credential::Credential;

pub use failure::Failure;
pub use watch::{Interruption, ResumingWatch};

/// Most that the opening of a watch may take: the service answers after its first good answer from
/// the vendor, or after its own retries.
const OPENING_LIMIT: Duration = Duration::from_mins(1);
/// Metadata by which a proxy in front of several replicas brings all who ask for a session to the
/// same one, where they share a poll. The service itself does not read it.
const SESSION_METADATA: &str = "session-id";
/// What cannot stand in metadata as it is.
const UNPRINTABLE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
/// How exact timers are.
const TICK: Duration = Duration::from_millis(2);

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the configuration names cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The credential cannot stand in a header.
    #[error("the credential has characters that cannot be sent, or is empty")]
    Credential,
    /// Certificates are given for an address that does not use them.
    #[error("certificates are of use with an https:// address only, not with {address}")]
    CertificateWithoutTls {
        /// The address.
        address: String,
    },
    /// The address or the certificates cannot be used.
    #[error("cannot use {address}: {reason}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
}

/// A client of one service, at one or several addresses.
#[derive(Clone, Debug)]
pub struct Client {
    channels: Vec<Channel>,
    credential: Credential,
}

impl Client {
    /// A client of the service at `config.server`. Nothing is connected before the first call.
    pub fn connect(config: &ConnectionConfig) -> Result<Self, Error> {
        let channels = config
            .server
            .iter()
            .map(|address| connection::channel(address, config))
            .collect::<Result<_, _>>()?;
        Ok(Self { channels, credential: Credential::new(&config.credential)? })
    }

    /// `GetSession`, within `limit`.
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

    /// `ListSystemLinks`, within `limit`.
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

    /// `Check` of grpc.health.v1, within `limit`.
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

    /// `WatchSession`, resumed whenever it breaks. Each new stream goes to the next address.
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

    /// Calls at the first address that can be reached.
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
        // tonic tells of its own timer with CANCELLED; what happened is that the deadline is over.
        Ok(Err(status))
            if status.code() == Code::Cancelled && Instant::now() + TICK >= deadline =>
        {
            Err(failure::too_late(limit))
        }
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(failure::too_late(limit)),
    }
}
