//! The HTTP client: reqwest, set up for one server. It follows no redirect, sends no request a second
//! time, and uses no proxy but that of the configuration.

mod setup;

use std::{error::Error as StdError, fmt, io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use reqwest::{Client, redirect, retry};
use url::Url;

pub use self::setup::SetUpError;

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
    pub(super) async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Response, Failed> {
        let request = request.try_into().map_err(Failed::unanswered)?;
        self.0.execute(request).await.map(Response).map_err(Failed::unanswered)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// An answer, of which the head is here. The body is unpacked as it comes.
pub(super) struct Response(reqwest::Response);

impl Response {
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(self.0.headers_mut())
    }

    /// The whole body, if that is no more than `limit` bytes once unpacked.
    pub async fn body(&mut self, limit: usize) -> Result<Vec<u8>, Failed> {
        let length = self.0.content_length().unwrap_or_default();
        let length = usize::try_from(length).ok().filter(|length| *length <= limit);
        let mut body = Vec::with_capacity(length.ok_or(Failed::TooLong)?);
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(Failed::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The next piece of the body.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failed> {
        self.0.chunk().await.map_err(Failed::cut_off)
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
    BadEncoding(#[source] reqwest::Error),
    #[error("the body is too long")]
    TooLong,
}

impl Failed {
    fn unanswered(error: reqwest::Error) -> Self {
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => Self::ConnectTimeout(error.without_url()),
            (true, false) => Self::Connect(error.without_url()),
            (false, _) => Self::on_the_wire(error, Self::Broken),
        }
    }

    fn cut_off(error: reqwest::Error) -> Self {
        // What does not come from the connection is the unpacking's own.
        Self::on_the_wire(error, Self::BadEncoding)
    }

    /// What `error` means; `otherwise`, if it says nothing about the connection.
    fn on_the_wire(error: reqwest::Error, otherwise: fn(reqwest::Error) -> Self) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput};

        let mut meaning = otherwise;
        for cause in causes(&error) {
            if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
                meaning = if cause.is_parse() { Self::NotHttp } else { Self::Broken };
            }
            if let Some(cause) = cause.downcast_ref::<io::Error>()
                && matches!(cause.kind(), InvalidData | InvalidInput)
            {
                meaning = Self::BadEncoding;
            }
        }
        // The URL holds the session's id.
        meaning(error.without_url())
    }
}

/// The error itself, what caused it, and so on.
fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
