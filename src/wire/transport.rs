//! One HTTP exchange with the vendor, limited in time and size.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Request;
use tokio::time::timeout;
use url::Url;

use crate::{
    config::UpstreamConfig,
    trace::Host,
    wire::{
        decode::BodyReader,
        error::{Error, Kind},
        http_client::{Connection, HttpClient, Response, SetUpError},
    },
};

/// The longest body of an answer, in bytes, after decompression.
const MAX_BODY: usize = 1024 * 1024;

/// How much of the body of an error is read, in bytes, and how long that may take.
const MAX_ERROR_BODY: usize = 16 * 1024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(1);

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Sends requests to the vendor's API.
pub(crate) struct Transport {
    client: HttpClient,
    base: Url,
    host: Host,
    attempt_timeout: Duration,
    /// For a body that is read as it arrives: how long the exchange may take, and how many bytes the
    /// body may have.
    list_timeout: Duration,
    list_limit: usize,
}

/// The vendor's answer, not decoded yet.
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The whole body of a success, or the beginning of the body of an error. Also the beginning of a
    /// body that was read as it arrived.
    pub body: Vec<u8>,
}

impl Transport {
    pub fn new(config: &UpstreamConfig) -> Result<Self, SetUpError> {
        Ok(Self {
            client: HttpClient::new(config, &config.url)?,
            base: config.url.clone(),
            host: Host {
                address: config.url.host_str().unwrap_or_default().into(),
                port: config.url.port_or_known_default().unwrap_or_default(),
            },
            attempt_timeout: config.timeout,
            list_timeout: config.list_timeout,
            list_limit: config.list_limit,
        })
    }

    /// The server that requests go to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Sends a GET for `path` below the base URL, with these headers. The path starts with a slash
    /// and is percent-encoded. `reader`, if there is one, reads the body of a success as it
    /// arrives.
    pub async fn get(
        &self,
        path: &str,
        authorization: HeaderValue,
        mut headers: HeaderMap,
        connection: Connection,
        reader: Option<&mut dyn BodyReader>,
    ) -> Result<Reply, Error> {
        let limit = if reader.is_some() { self.list_timeout } else { self.attempt_timeout };
        headers.insert(header::ACCEPT, JSON);
        headers.insert(header::AUTHORIZATION, authorization);
        let mut request = Request::new(Method::GET, self.url(path));
        *request.headers_mut() = headers;
        timeout(limit, self.exchange(request, connection, reader))
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Timeout)))
    }

    /// The URL of a path, which may have a query. Only the path is parsed.
    fn url(&self, path: &str) -> Url {
        let mut parts = path.splitn(2, '?');
        let path = parts.next().unwrap_or_default();
        let mut url = self.base.clone();
        url.set_path(&[self.base.path().trim_end_matches('/'), path].concat());
        url.set_query(parts.next());
        url
    }

    async fn exchange(
        &self,
        request: Request,
        connection: Connection,
        reader: Option<&mut dyn BodyReader>,
    ) -> Result<Reply, Error> {
        let mut response = self.client.send_on(connection, request).await?;
        let (status, headers) = (response.status(), response.take_headers());
        let body = if status.is_success() {
            let body = match reader {
                None => response.body(MAX_BODY).await,
                Some(reader) => read(response, self.list_limit, reader).await,
            };
            body.map_err(|error| Error { http_status: Some(status.as_u16()), ..error })?
        } else {
            // The status of an error counts, even if its body is missing, slow or endless.
            response.partial_body(MAX_ERROR_BODY, ERROR_BODY_TIMEOUT).await
        };
        Ok(Reply { status, headers, body })
    }
}

/// Reads a body as it arrives. Returns its beginning.
async fn read(
    response: Response,
    limit: usize,
    reader: &mut dyn BodyReader,
) -> Result<Vec<u8>, Error> {
    let mut beginning = Vec::new();
    reader.begin();
    let accept = |content: &[u8]| {
        let room = MAX_ERROR_BODY - beginning.len();
        beginning.extend_from_slice(&content[..content.len().min(room)]);
        reader.read(content)
    };
    response.read(limit, accept).await?;
    Ok(beginning)
}
