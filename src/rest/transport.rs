//! One HTTP exchange with the vendor, bounded in time and size. The only place that knows the
//! HTTP client and its errors.

use std::{error::Error as StdError, fs, io, path::PathBuf, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Certificate, ClientBuilder, NoProxy, Proxy, Response, redirect, tls};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::{Error, Kind, lenient::Malformed};
use crate::{config::UpstreamConfig, trace::Host};

/// Longest body of an answer, in bytes, after decompression.
const BODY_LIMIT: usize = 1024 * 1024;

/// Longest part of an error body that is looked at, in bytes, and the time it gets to arrive.
const ERROR_BODY_LIMIT: usize = 16 * 1024;
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(1);

/// Why the way to the vendor cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The file with certificate authorities cannot be read.
    #[error("cannot read the file of certificate authorities {0}")]
    CertificateFile(PathBuf, #[source] io::Error),
    /// It holds no PEM certificate.
    #[error("no PEM certificate in the file of certificate authorities {0}")]
    NoCertificate(PathBuf),
    /// The proxy's address is no URL. The message does not show it: it may hold a password.
    #[error("the address of the proxy is not a URL such as http://proxy.example:3128")]
    Proxy,
    /// The HTTP client cannot be built, most likely since the system has no certificate
    /// authorities.
    #[error("cannot set up TLS towards the vendor")]
    Tls(#[source] reqwest::Error),
}

/// An HTTP client for `url` with the certificates, proxy and timeouts of `config`: it follows no
/// redirect and reads nothing from the environment.
pub fn http_client(config: &UpstreamConfig, url: &Url) -> Result<reqwest::Client, SetUpError> {
    // Only the first call in a process can set it, and all set the same.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers.clone())
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(config.connect_timeout)
            // Shorter than the minute after which load balancers close, so that we close first.
            .pool_idle_timeout(Duration::from_secs(45))
            // A dead path is noticed by nothing else (hyper #4186).
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(5))
            .http2_keep_alive_while_idle(false)
            .tcp_keepalive(Duration::from_secs(30))
            .tls_version_min(tls::Version::TLS_1_2)
    };
    let certificates = certificates(config)?;
    let proxied = |builder| with_proxy(builder, config);

    if url.scheme() == "http" {
        // Not the system's authorities: to look for them would fail where there are none.
        return proxied(builder().tls_certs_only(certificates))?.build().map_err(SetUpError::Tls);
    }
    if certificates.is_empty() {
        return proxied(builder())?.build().map_err(SetUpError::Tls);
    }
    match proxied(builder().tls_certs_merge(certificates.clone()))?.build() {
        Ok(client) => Ok(client),
        // In a container without any, those given are enough.
        Err(_) => proxied(builder().tls_certs_only(certificates))?.build().map_err(SetUpError::Tls),
    }
}

/// The way to the vendor.
pub(super) struct Transport {
    client: reqwest::Client,
    base: String,
    host: Host,
    attempt_limit: Duration,
}

/// What came back.
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Whole if the status is a success; else as much as is worth a look.
    pub body: Vec<u8>,
}

impl Transport {
    pub fn new(config: &UpstreamConfig) -> Result<Self, SetUpError> {
        Ok(Self {
            client: http_client(config, &config.url)?,
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
    ) -> Result<Reply, Error> {
        timeout(self.attempt_limit, self.exchange(path, authorization, headers))
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Timeout)))
    }

    async fn exchange(
        &self,
        path: &str,
        authorization: HeaderValue,
        headers: HeaderMap,
    ) -> Result<Reply, Error> {
        let mut response = self
            .client
            .get(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, authorization)
            .headers(headers)
            .send()
            .await
            .map_err(transport_error)?;
        let status = response.status();
        let body = if status.is_success() {
            whole_body(&mut response).await.map_err(|mut error| {
                error.http_status = Some(status.as_u16());
                error
            })?
        } else {
            head_of_body(&mut response).await
        };
        Ok(Reply { status, headers: std::mem::take(response.headers_mut()), body })
    }
}

async fn whole_body(response: &mut Response) -> Result<Vec<u8>, Error> {
    let length = response.content_length().unwrap_or(0);
    let length = usize::try_from(length).ok().filter(|length| *length <= BODY_LIMIT);
    let mut body = Vec::with_capacity(length.ok_or_else(too_long)?);
    while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error's status is told even if its body does not come, comes slowly or without end.
async fn head_of_body(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    let until = Instant::now() + ERROR_BODY_PATIENCE;
    while let Ok(Ok(Some(chunk))) = timeout_at(until, response.chunk()).await {
        if body.len() + chunk.len() > ERROR_BODY_LIMIT {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    body
}

fn too_long() -> Error {
    Error::new(Kind::Malformed).caused_by(Malformed::TooLong)
}

/// What an error of the HTTP client means.
fn transport_error(error: reqwest::Error) -> Error {
    let kind = if error.is_connect() {
        Kind::ConnectFailed
    } else if let Some(malformed) = malformed(&error) {
        return Error::new(Kind::Malformed).caused_by(malformed);
    } else {
        Kind::Unavailable
    };
    // The URL holds the session id.
    Error::new(kind).caused_by(error.without_url())
}

/// Why the answer is not HTTP, or its body not what its encoding says; nothing if it is neither,
/// but was cut off.
fn malformed(error: &reqwest::Error) -> Option<Malformed> {
    let mut is_from_the_wire = false;
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
            if cause.is_parse() {
                return Some(Malformed::NotHttp);
            }
            is_from_the_wire = true;
        }
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            use io::ErrorKind::{InvalidData, InvalidInput};
            if matches!(cause.kind(), InvalidData | InvalidInput) {
                return Some(Malformed::BadEncoding);
            }
        }
        source = cause.source();
    }
    (error.is_decode() && !is_from_the_wire).then_some(Malformed::BadEncoding)
}

fn certificates(config: &UpstreamConfig) -> Result<Vec<Certificate>, SetUpError> {
    let Some(file) = &config.ca_file else { return Ok(Vec::new()) };
    let pem = fs::read(file).map_err(|error| SetUpError::CertificateFile(file.clone(), error))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SetUpError::NoCertificate(file.clone())),
    }
}

fn with_proxy(
    builder: ClientBuilder,
    config: &UpstreamConfig,
) -> Result<ClientBuilder, SetUpError> {
    // Without this the client would read the environment by itself.
    let builder = builder.no_proxy();
    let is_set = |proxy: &&SecretString| !proxy.expose_secret().is_empty();
    let usual = [&config.https_proxy_lower_case, &config.https_proxy];
    let proxy = if let Some(address) = config.proxy.as_ref().filter(is_set) {
        Proxy::all(address.expose_secret())
    } else if let Some(address) = usual.into_iter().flatten().find(is_set) {
        Proxy::https(address.expose_secret())
    } else {
        return Ok(builder);
    };
    let exceptions = config.no_proxy_lower_case.as_ref().or(config.no_proxy.as_ref());
    let exceptions = exceptions.and_then(|exceptions| NoProxy::from_string(exceptions));
    Ok(builder.proxy(proxy.map_err(|_| SetUpError::Proxy)?.no_proxy(exceptions)))
}
