//! The HTTP client: reqwest, set up for one server. It follows no redirect, sends no request a second
//! time, and uses no proxy but that of the configuration.

mod addresses;
mod coding;
mod connections;
mod failed;
mod no_proxy;
mod setup;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header::ACCEPT_ENCODING};
use hyper_util::client::legacy::connect::HttpInfo;
use tokio::time::{Instant, timeout_at};
use url::Url;

pub(crate) use self::failed::Failed;
pub use self::setup::SetUpError;

use self::{
    addresses::{Addresses, Lookup, system_lookup},
    coding::Coding,
    connections::Connections,
    setup::SetUp,
};
use crate::config::UpstreamConfig;

/// Sends requests to one server. All clones share the connections.
#[derive(Clone)]
pub struct HttpClient {
    connections: Arc<Connections>,
    addresses: Arc<Addresses>,
}

/// The connection to send a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// One that is open already, or a new one.
    Any,
    /// A new one, which is closed after the answer.
    New,
}

impl HttpClient {
    /// A client for `url` with the certificates, proxy and timeouts of `config`. Nothing is sent yet.
    pub fn new(config: &UpstreamConfig, url: &Url) -> Result<Self, SetUpError> {
        Self::with_lookup(config, url, system_lookup)
    }

    fn with_lookup(config: &UpstreamConfig, url: &Url, lookup: Lookup) -> Result<Self, SetUpError> {
        let addresses = Arc::new(Addresses::new(lookup, config.connect_timeout));
        let set_up = SetUp::new(config, url, Arc::clone(&addresses))?;
        let connections = Arc::new(Connections::new(set_up, config.timeout)?);
        Ok(Self { connections, addresses })
    }

    /// Sends `request`, whose URI is absolute, and returns when the head of the answer was read.
    pub(crate) async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Response, Failed> {
        self.send_on(Connection::Any, request).await
    }

    /// The same, with a choice of the connection.
    pub(crate) async fn send_on(
        &self,
        connection: Connection,
        mut request: http::Request<Vec<u8>>,
    ) -> Result<Response, Failed> {
        request.headers_mut().insert(ACCEPT_ENCODING, coding::ACCEPTED);
        let request = request.try_into().map_err(Failed::unanswered)?;
        let waiting = self.connections.begin();
        let client = match connection {
            Connection::Any => &waiting.generation.pooled,
            Connection::New => &waiting.generation.unpooled,
        };
        let response = client.execute(request).await.map_err(|error| {
            let is_reused = |local| waiting.generation.is_used(local);
            let is_kept_alive = failed::local_address(&error).is_some_and(is_reused);
            let failed = Failed::unanswered(error);
            if is_kept_alive { failed.on_kept_alive() } else { failed }
        })?;
        let info = response.extensions().get::<HttpInfo>();
        if let Some(info) = info {
            self.addresses.worked(info.remote_addr().ip());
        }
        let kept = info.filter(|_| connection == Connection::Any).map(HttpInfo::local_addr);
        waiting.answered(kept);
        Ok(Response { coding: Coding::of(response.headers()), response })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// An answer of which the head was read.
pub(crate) struct Response {
    response: reqwest::Response,
    coding: Coding,
}

impl Response {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(self.response.headers_mut())
    }

    /// Reads the whole body, which may have `limit` bytes, both packed and unpacked.
    pub async fn whole(mut self, limit: usize) -> Result<Vec<u8>, Failed> {
        let length = self.response.content_length().unwrap_or_default();
        let length = usize::try_from(length).ok().filter(|length| *length <= limit);
        let mut body = Vec::with_capacity(length.ok_or(Failed::TooLong)?);
        while let Some(chunk) = self.response.chunk().await.map_err(Failed::on_the_wire)? {
            if body.len() + chunk.len() > limit {
                return Err(Failed::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        if self.coding == Coding::Plain {
            return Ok(body);
        }
        let mut unpacked = Vec::new();
        self.coding.unpack(&body, limit, &mut unpacked).map_err(Failed::BadEncoding)?;
        if unpacked.len() > limit { Err(Failed::TooLong) } else { Ok(unpacked) }
    }

    /// Reads the part of the body that comes within `patience`, up to `limit` bytes.
    pub async fn beginning(mut self, limit: usize, patience: Duration) -> Vec<u8> {
        let mut body = Vec::new();
        let until = Instant::now() + patience;
        while body.len() < limit
            && let Ok(Ok(Some(chunk))) = timeout_at(until, self.response.chunk()).await
        {
            body.extend_from_slice(&chunk);
        }
        let mut unpacked = Vec::new();
        // What was unpacked before an error is still of use.
        let _ = self.coding.unpack(&body, limit, &mut unpacked);
        unpacked.truncate(limit);
        unpacked
    }
}
