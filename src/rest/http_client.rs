//! The HTTP client: reqwest, set up for one server. It follows no redirect, sends no request a second
//! time, and uses no proxy but that of the configuration.

mod coding;
mod no_proxy;
mod setup;

use std::{error::Error as StdError, fmt, io, time::Duration};

use http::{HeaderMap, StatusCode, header::ACCEPT_ENCODING};
use reqwest::{Client, redirect, retry};
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use self::setup::SetUpError;

use self::coding::Coding;
use crate::config::UpstreamConfig;

/// Shorter than the minute after which load balancers close, so that we close first.
const IDLE: Duration = Duration::from_secs(45);
/// A dead path is noticed by nothing else (hyperium/hyper#4186): how often a connection in use is
/// asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Sends requests to one server. All clones share the connections.
#[derive(Clone)]
pub struct HttpClient(Client);

impl HttpClient {
    /// A client for `url` with the certificates, proxy and timeouts of `config`. Nothing is sent yet.
    pub fn new(config: &UpstreamConfig, url: &Url) -> Result<Self, SetUpError> {
        let (interval, limit) = KEEPALIVE;
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(interval)
            .http2_keep_alive_timeout(limit);
        setup::client(client, config, url).map(Self)
    }

    /// Sends `request`, whose URI is absolute, and returns when the head of the answer is here.
    pub(super) async fn send(
        &self,
        mut request: http::Request<Vec<u8>>,
    ) -> Result<Response, Failed> {
        request.headers_mut().insert(ACCEPT_ENCODING, coding::ACCEPTED);
        let request = request.try_into().map_err(Failed::unanswered)?;
        self.0.execute(request).await.map(Response::new).map_err(Failed::unanswered)
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
    fn new(response: reqwest::Response) -> Self {
        Self { coding: Coding::of(response.headers()), response }
    }

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

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("no connection in time")]
    ConnectTimeout(#[source] reqwest::Error),
    #[error("no connection")]
    Connect(#[source] reqwest::Error),
    #[error("the connection broke off")]
    Broken(#[source] reqwest::Error),
    #[error("the answer is not HTTP")]
    NotHttp(#[source] reqwest::Error),
    #[error("the body is not encoded as its content-encoding says")]
    BadEncoding(#[source] io::Error),
    #[error("the body is too long")]
    TooLong,
}

impl Failed {
    fn unanswered(error: reqwest::Error) -> Self {
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => Self::ConnectTimeout(error.without_url()),
            (true, false) => Self::Connect(error.without_url()),
            (false, _) => Self::on_the_wire(error),
        }
    }

    /// What an error of a connection that came about means.
    fn on_the_wire(error: reqwest::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput};

        let is_not_http = causes(&error).any(|cause| {
            let is_parse = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
            // A chunk that is none.
            let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            is_parse || matches!(kind, Some(InvalidData | InvalidInput))
        });
        // The URL holds the session's id.
        let error = error.without_url();
        if is_not_http { Self::NotHttp(error) } else { Self::Broken(error) }
    }
}

/// The error itself, what caused it, and so on.
fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
