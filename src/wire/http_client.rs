//! The HTTP client: reqwest, set up for one server. It follows no redirect, does not send a request a
//! second time, and uses no proxy except the configured one.

mod client_settings;
mod coding;
mod connections;
mod decompressor;
mod failure;
mod no_proxy;
mod resolver;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header::ACCEPT_ENCODING};
use hyper_util::client::legacy::connect::HttpInfo;
use tokio::{
    task::yield_now,
    time::{Instant, timeout_at},
};
use url::Url;

pub use self::client_settings::SetUpError;

use self::{
    client_settings::ClientSettings,
    coding::Coding,
    connections::Connections,
    decompressor::Decompressor,
    resolver::{Lookup, Resolver, system_lookup},
};
use super::{
    error::{Error, Kind},
    invalid_body::InvalidBody,
};
use crate::config::UpstreamConfig;

/// Sends requests to one server. All clones share the connections.
#[derive(Clone)]
pub struct HttpClient {
    connections: Arc<Connections>,
    resolver: Arc<Resolver>,
}

/// The connection to send a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// An open one, or a new one.
    Any,
    /// A new one, which is closed after the answer.
    New,
}

impl HttpClient {
    /// A client for `url` with the certificates, proxy and timeouts of `config`. This opens no
    /// connection yet.
    pub fn new(config: &UpstreamConfig, url: &Url) -> Result<Self, SetUpError> {
        Self::with_lookup(config, url, system_lookup)
    }

    fn with_lookup(config: &UpstreamConfig, url: &Url, lookup: Lookup) -> Result<Self, SetUpError> {
        let resolver = Arc::new(Resolver::new(lookup, config.connect_timeout));
        let settings = ClientSettings::new(config, url, Arc::clone(&resolver))?;
        let connections = Arc::new(Connections::new(settings, config.timeout)?);
        Ok(Self { connections, resolver })
    }

    /// Sends `request`, whose URI is absolute. Returns once the head of the answer is read.
    pub(crate) async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Response, Error> {
        let request = request.try_into().map_err(failure::broken)?;
        self.send_on(Connection::Any, request).await
    }

    /// Sends `request` on the given kind of connection.
    pub(crate) async fn send_on(
        &self,
        connection: Connection,
        mut request: reqwest::Request,
    ) -> Result<Response, Error> {
        request.headers_mut().insert(ACCEPT_ENCODING, coding::ACCEPTED);
        let in_flight = self.connections.begin();
        let generation = &in_flight.generation;
        let client = match connection {
            Connection::Any => &generation.pooled,
            Connection::New => &generation.unpooled,
        };
        let response = client.execute(request).await.map_err(|error| {
            failure::unanswered(error, |local_address| generation.is_reused(local_address))
        })?;
        let info = response.extensions().get::<HttpInfo>();
        if let Some(info) = info {
            self.resolver.note_success(info.remote_addr().ip());
        }
        let kept = info.filter(|_| connection == Connection::Any).map(HttpInfo::local_addr);
        in_flight.answered(kept);
        Ok(Response { coding: Coding::of(response.headers()), response })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// An answer whose head is read.
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

    /// Reads the whole body. The body may have at most `limit` bytes, and as many after
    /// decompression.
    pub async fn body(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let length = self.response.content_length().unwrap_or_default();
        let length = usize::try_from(length).ok().filter(|length| *length <= limit);
        let mut body = Vec::with_capacity(length.ok_or_else(too_long)?);
        while let Some(chunk) = self.response.chunk().await.map_err(failure::broken)? {
            if body.len() + chunk.len() > limit {
                return Err(too_long());
            }
            body.extend_from_slice(&chunk);
        }
        if self.coding == Coding::Identity {
            return Ok(body);
        }
        let mut content = Vec::new();
        let result = self.coding.decompress(&body, limit, &mut content);
        result.map_err(|_| bad_encoding())?;
        if content.len() > limit { Err(too_long()) } else { Ok(content) }
    }

    /// Decompresses the body as it arrives, and passes each piece to `accept` until that returns
    /// false. The body may have at most `limit` bytes, and as many after decompression.
    pub async fn read(
        mut self,
        limit: usize,
        mut accept: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let length = self.response.content_length().unwrap_or_default();
        if usize::try_from(length).is_ok_and(|length| length > limit) {
            return Err(too_long());
        }
        let mut decompressor = Decompressor::new(self.coding).map_err(|_| bad_encoding())?;
        let (mut body_left, mut content_left) = (limit, limit);
        while let Some(chunk) = self.response.chunk().await.map_err(failure::broken)? {
            body_left = body_left.checked_sub(chunk.len()).ok_or_else(too_long)?;
            for piece in chunk.chunks(decompressor.piece()) {
                let content = decompressor.decompress(piece).map_err(|_| bad_encoding())?;
                content_left = content_left.checked_sub(content.len()).ok_or_else(too_long)?;
                if !accept(content) {
                    return Ok(());
                }
                yield_now().await;
            }
        }
        let content = decompressor.end().map_err(|_| bad_encoding())?;
        content_left.checked_sub(content.len()).ok_or_else(too_long)?;
        accept(&content);
        Ok(())
    }

    /// Reads the part of the body that arrives before the timeout, up to `limit` bytes.
    pub async fn partial_body(mut self, limit: usize, timeout: Duration) -> Vec<u8> {
        let mut body = Vec::new();
        let deadline = Instant::now() + timeout;
        while body.len() < limit
            && let Ok(Ok(Some(chunk))) = timeout_at(deadline, self.response.chunk()).await
        {
            body.extend_from_slice(&chunk);
        }
        let mut content = Vec::new();
        // The content before an error is still useful.
        let _ = self.coding.decompress(&body, limit, &mut content);
        content.truncate(limit);
        content
    }
}

fn too_long() -> Error {
    Error::new(Kind::Malformed).caused_by(InvalidBody::TooLong)
}

fn bad_encoding() -> Error {
    Error::new(Kind::Malformed).caused_by(InvalidBody::BadEncoding)
}
