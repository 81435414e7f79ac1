//! The HTTP client: reqwest, set up for one server. It follows no redirect, sends no request a second
//! time, and uses no proxy but that of the configuration.

mod addresses;
mod coding;
mod failed;
mod no_proxy;
mod setup;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header::ACCEPT_ENCODING};
use reqwest::{Client, redirect, retry};
use tokio::time::{Instant, timeout_at};
use url::Url;

pub(super) use self::failed::Failed;
pub use self::setup::SetUpError;

use self::{
    addresses::{Addresses, Lookup, system_lookup},
    coding::Coding,
};
use crate::config::UpstreamConfig;

/// Shorter than the minute after which load balancers close, so that we close first.
const IDLE: Duration = Duration::from_secs(45);
/// A dead path is noticed by nothing else (hyperium/hyper#4186): how often a connection in use is
/// asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Sends requests to one server. All clones share the connections.
#[derive(Clone)]
pub struct HttpClient {
    client: Client,
    addresses: Arc<Addresses>,
}

impl HttpClient {
    /// A client for `url` with the certificates, proxy and timeouts of `config`. Nothing is sent yet.
    pub fn new(config: &UpstreamConfig, url: &Url) -> Result<Self, SetUpError> {
        Self::with_lookup(config, url, system_lookup)
    }

    fn with_lookup(config: &UpstreamConfig, url: &Url, lookup: Lookup) -> Result<Self, SetUpError> {
        let addresses = Arc::new(Addresses::new(lookup, config.connect_timeout));
        let (interval, limit) = KEEPALIVE;
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            // Bodies are unpacked in `coding`, also where reqwest is built with gzip.
            .no_gzip()
            .dns_resolver(Arc::clone(&addresses))
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(interval)
            .http2_keep_alive_timeout(limit);
        Ok(Self { client: setup::client(builder, config, url)?, addresses })
    }

    /// Sends `request`, whose URI is absolute, and returns when the head of the answer is here.
    pub(super) async fn send(
        &self,
        mut request: http::Request<Vec<u8>>,
    ) -> Result<Response, Failed> {
        request.headers_mut().insert(ACCEPT_ENCODING, coding::ACCEPTED);
        let request = request.try_into().map_err(Failed::unanswered)?;
        let response = self.client.execute(request).await.map_err(Failed::unanswered)?;
        if let Some(peer) = response.remote_addr() {
            self.addresses.worked(peer.ip());
        }
        Ok(Response { coding: Coding::of(response.headers()), response })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// An answer, of which the head is here.
pub(super) struct Response {
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

    /// The whole body, if that is no more than `limit` bytes, packed or not.
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

    /// What comes of the body within `patience` and is readable, up to `limit` bytes.
    pub async fn beginning(mut self, limit: usize, patience: Duration) -> Vec<u8> {
        let mut body = Vec::new();
        let until = Instant::now() + patience;
        while body.len() < limit
            && let Ok(Ok(Some(chunk))) = timeout_at(until, self.response.chunk()).await
        {
            body.extend_from_slice(&chunk);
        }
        let mut unpacked = Vec::new();
        // What could be unpacked before an error is all there is.
        let _ = self.coding.unpack(&body, limit, &mut unpacked);
        unpacked.truncate(limit);
        unpacked
    }
}
