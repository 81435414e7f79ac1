//! One HTTP exchange with the vendor, bounded in time and size.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use tokio::time::timeout;

use crate::{
    config::UpstreamConfig,
    trace::Host,
    wire::{
        error::{Error, Kind},
        http_client::{Connection, Failed, HttpClient, SetUpError},
        json::Malformed,
    },
};

/// Longest body of an answer, in bytes, after decompression.
const BODY_LIMIT: usize = 1024 * 1024;

/// Longest part of an error body that is looked at, in bytes, and the time it gets to arrive.
const ERROR_BODY_LIMIT: usize = 16 * 1024;
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(1);

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The way to the vendor.
pub(crate) struct Transport {
    client: HttpClient,
    /// The base URL without a slash at its end.
    base: String,
    host: Host,
    attempt_limit: Duration,
}

/// What came back.
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Whole if the status is a success; else as much as is worth a look.
    pub body: Vec<u8>,
}

impl Transport {
    pub fn new(config: &UpstreamConfig) -> Result<Self, SetUpError> {
        Ok(Self {
            client: HttpClient::new(config, &config.url)?,
            base: config.url.as_str().trim_end_matches('/').to_owned(),
            host: Host {
                address: config.url.host_str().unwrap_or_default().into(),
                port: config.url.port_or_known_default().unwrap_or_default(),
            },
            attempt_limit: config.timeout,
        })
    }

    /// Where requests go.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Gets `path`, which starts with a slash and is percent-encoded, below the base URL. `headers`
    /// go along.
    pub async fn get(
        &self,
        path: &str,
        authorization: HeaderValue,
        headers: HeaderMap,
        connection: Connection,
    ) -> Result<Reply, Error> {
        let request = self.request(path, authorization, headers)?;
        timeout(self.attempt_limit, self.exchange(request, connection))
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Timeout)))
    }

    async fn exchange(
        &self,
        request: Request<Vec<u8>>,
        connection: Connection,
    ) -> Result<Reply, Error> {
        let response = self.client.send_on(connection, request).await;
        let mut response = response.map_err(transport_error)?;
        let (status, headers) = (response.status(), response.take_headers());
        let body = if status.is_success() {
            response.whole(BODY_LIMIT).await.map_err(|failed| Error {
                http_status: Some(status.as_u16()),
                ..transport_error(failed)
            })?
        } else {
            // An error's status is told even if its body does not come, comes slowly or without end.
            response.beginning(ERROR_BODY_LIMIT, ERROR_BODY_PATIENCE).await
        };
        Ok(Reply { status, headers, body })
    }

    fn request(
        &self,
        path: &str,
        authorization: HeaderValue,
        mut headers: HeaderMap,
    ) -> Result<Request<Vec<u8>>, Error> {
        let uri = format!("{}{path}", self.base).try_into();
        headers.insert(header::ACCEPT, JSON);
        headers.insert(header::AUTHORIZATION, authorization);
        let mut request = Request::default();
        *request.uri_mut() = uri.map_err(|_| Error::new(Kind::RejectedArgument))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn transport_error(failed: Failed) -> Error {
    let broken = |kind, failure| Error { connection: Some(failure), ..Error::new(kind) };
    let malformed = |how| Error::new(Kind::Malformed).caused_by(how);
    match failed {
        Failed::Connect(failure, _) => broken(Kind::ConnectFailed, failure).caused_by(failed),
        Failed::Broken(failure, _) => broken(Kind::Unavailable, failure).caused_by(failed),
        Failed::NotHttp(_) => malformed(Malformed::NotHttp),
        Failed::BadEncoding(_) => malformed(Malformed::BadEncoding),
        Failed::TooLong => malformed(Malformed::TooLong),
    }
}
