//! The HTTP client: hyper's pool over our way of connecting. It follows no redirect, sends nothing a
//! second time, and takes no proxy from the environment.
//!
//! These are reqwest's own parts without reqwest: its layers, and the URL it parses three times, were
//! a sixth of a call's instructions (docs/performance.md).

mod connect;
mod setup;

use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header, response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use thread_local::ThreadLocal;
use tower::ServiceExt as _;
use tower_http::decompression::{Decompression, DecompressionBody};
use url::Url;

pub use self::setup::SetUpError;
pub(super) use self::setup::uri;

use self::connect::Connector;
use crate::config::UpstreamConfig;

/// Shorter than the minute after which load balancers close, so that we close first.
const IDLE: Duration = Duration::from_secs(45);
/// A dead path is noticed by nothing else (hyperium/hyper#4186): how often a connection in use is
/// asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));

/// Sends requests to one server. All clones share the connections.
#[derive(Clone)]
pub struct HttpClient {
    connector: Connector,
    /// What a proxy wants to see in a request that it hands on itself.
    proxy_authorization: Option<HeaderValue>,
    /// For each thread its own: a connection's answers then wake nobody on another core.
    pools: Arc<ThreadLocal<Pool>>,
}

type BoxError = Box<dyn StdError + Send + Sync>;
type Pool = legacy::Client<Connector, Full<Bytes>>;

/// The body of an answer, unpacked as it comes.
pub(super) struct Body(DecompressionBody<Incoming>);

impl HttpClient {
    /// A client for `url` with the certificates, proxy and timeouts of `config`. Nothing is sent yet.
    pub fn new(config: &UpstreamConfig, url: &Url) -> Result<Self, SetUpError> {
        let tls = setup::tls(config, url)?;
        let proxy = setup::proxy(config, url)?;
        // In a tunnel the proxy sees no request, and the vendor is to see no password of it.
        let relay = proxy.as_ref().filter(|_| url.scheme() == "http");
        Ok(Self {
            proxy_authorization: relay.and_then(|proxy| proxy.authorization.clone()),
            connector: Connector::new(tls, proxy, config.connect_timeout),
            pools: Arc::default(),
        })
    }

    /// Sends `request`, whose URI is absolute, and returns when the head of the answer is here.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(response::Parts, Body), Failed> {
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = &self.proxy_authorization {
            headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        let unpacked = Decompression::new(self.pools.get_or(|| self.pool()));
        let answer = unpacked.oneshot(request).await.map_err(Failed::unanswered)?;
        let (head, body) = answer.into_parts();
        Ok((head, Body(body)))
    }

    fn pool(&self) -> Pool {
        let (interval, limit) = KEEPALIVE;
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(interval)
            .http2_keep_alive_timeout(limit)
            .http2_keep_alive_while_idle(false)
            .build(self.connector.clone())
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

impl Body {
    /// All of it, if that is no more than `limit` bytes once unpacked.
    pub async fn whole(&mut self, limit: usize) -> Result<Vec<u8>, Failed> {
        let length = http_body::Body::size_hint(&self.0).exact().unwrap_or_default();
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

    /// The next piece.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failed> {
        while let Some(frame) = self.0.frame().await {
            // Trailers say nothing to us.
            if let Ok(bytes) = frame.map_err(Failed::cut_off)?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("no connection in time")]
    ConnectTimeout(#[source] BoxError),
    #[error("no connection")]
    Connect(#[source] BoxError),
    #[error("the connection broke off")]
    Broken(#[source] BoxError),
    #[error("the answer is not HTTP")]
    NotHttp(#[source] BoxError),
    #[error("the body is not encoded as its content-encoding says")]
    BadEncoding(#[source] BoxError),
    #[error("the body is too long")]
    TooLong,
}

impl Failed {
    fn unanswered(error: legacy::Error) -> Self {
        if !error.is_connect() {
            return Self::on_the_wire(&error, Self::Broken)(error.into());
        }
        let is_late = causes(&error).any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
        });
        let error = error.into();
        if is_late { Self::ConnectTimeout(error) } else { Self::Connect(error) }
    }

    fn cut_off(error: BoxError) -> Self {
        // What does not come from the connection is the unpacking's own.
        Self::on_the_wire(error.as_ref(), Self::BadEncoding)(error)
    }

    /// What `error` means; `otherwise`, if it says nothing about the connection.
    fn on_the_wire(error: &(dyn StdError + 'static), otherwise: Meaning) -> Meaning {
        use io::ErrorKind::{InvalidData, InvalidInput};

        let mut meaning = otherwise;
        for cause in causes(error) {
            if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
                if cause.is_parse() {
                    return Self::NotHttp;
                }
                meaning = Self::Broken;
            }
            if let Some(cause) = cause.downcast_ref::<io::Error>()
                && matches!(cause.kind(), InvalidData | InvalidInput)
            {
                return Self::BadEncoding;
            }
        }
        meaning
    }
}

type Meaning = fn(BoxError) -> Failed;

/// The error itself, what caused it, and so on.
fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
