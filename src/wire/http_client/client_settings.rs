//! The settings of reqwest's clients: trusted authorities, proxy, timeouts, and rules of HTTP.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use http::{Uri, uri::InvalidUri};
use reqwest::{Certificate, Client, ClientBuilder, Proxy, redirect, retry};
use rustls::crypto::ring;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{no_proxy, resolver::Resolver};
use crate::config::UpstreamConfig;

/// Load balancers close a connection after a minute without requests. The client closes it earlier.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// The interval and the timeout of HTTP/2 pings on a connection in use. Nothing else notices a dead
/// path (hyperium/hyper#4186).
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));

/// The most header fields of an HTTP/1.1 answer. The default of hyper is 100. With another number, hyper
/// fills two tables of this length for each answer, so a large number costs every call.
const MAX_HEADERS: usize = 200;

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Why the HTTP client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The file with certificate authorities cannot be read.
    #[error("cannot read the file of certificate authorities {0}")]
    CertificateFile(PathBuf, #[source] io::Error),
    /// The file with certificate authorities holds no PEM certificate.
    #[error("no PEM certificate in the file of certificate authorities {0}")]
    NoCertificate(PathBuf),
    /// The address of the proxy is not an HTTP URL. The message omits it, since it may hold a
    /// password.
    #[error(
        "the address of the proxy is not an http or https URL such as http://proxy.example:3128"
    )]
    Proxy,
    /// HTTP cannot express the address of the API.
    #[error("HTTP cannot express the address of the API")]
    Address(#[from] InvalidUri),
    /// No authority is known that could have signed the vendor's certificate.
    #[error("the system has no certificate authorities; set --upstream-ca-file")]
    NoAuthority,
    /// reqwest or rustls rejects the settings.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Builds clients with the same settings, which share no connection.
pub(super) struct ClientSettings {
    /// The authorities of the configuration.
    pub authorities: Vec<Certificate>,
    needs_system_authorities: bool,
    proxy: Option<Proxy>,
    resolver: Arc<Resolver>,
    connect_timeout: Duration,
}

impl ClientSettings {
    /// The settings of `config` for requests to `url`.
    pub fn new(
        config: &UpstreamConfig,
        url: &Url,
        resolver: Arc<Resolver>,
    ) -> Result<Self, SetUpError> {
        url.as_str().parse::<Uri>()?;
        let proxy = proxy(config, url)?;
        let is_https = |url: &Url| url.scheme() == "https";
        Ok(Self {
            authorities: configured_authorities(config)?,
            // A system without authorities is no problem if no certificate is checked.
            needs_system_authorities: is_https(url) || proxy.as_ref().is_some_and(is_https),
            proxy: proxy.map(Proxy::all).transpose().map_err(|_| SetUpError::Proxy)?,
            resolver,
            connect_timeout: config.connect_timeout,
        })
    }

    /// A client that keeps its connections for later requests.
    pub fn pooled(&self) -> Result<Client, SetUpError> {
        self.build(Client::builder().pool_idle_timeout(IDLE_TIMEOUT))
    }

    /// A client that makes a new connection for each request.
    pub fn unpooled(&self) -> Result<Client, SetUpError> {
        self.build(Client::builder().pool_max_idle_per_host(0))
    }

    fn build(&self, builder: ClientBuilder) -> Result<Client, SetUpError> {
        let (interval, limit) = KEEPALIVE;
        let builder = builder
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            // `coding` decompresses the bodies, even if reqwest is built with gzip.
            .no_gzip()
            .dns_resolver(Arc::clone(&self.resolver))
            .connect_timeout(self.connect_timeout)
            .http1_max_headers(MAX_HEADERS)
            // As in curl and browsers, a bad header field, such as a cookie, does not spoil the answer.
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http2_keep_alive_interval(interval)
            .http2_keep_alive_timeout(limit);
        let authorities = self.authorities.iter().cloned();
        let builder = if self.needs_system_authorities {
            builder.tls_certs_merge(authorities)
        } else {
            builder.tls_certs_only(authorities)
        };
        let builder = match &self.proxy {
            Some(proxy) => builder.proxy(proxy.clone()),
            None => builder.no_proxy(),
        };
        // Without a provider, building the client panics. If one is installed already, it stays.
        let _ = ring::default_provider().install_default();
        builder.build().map_err(|error| match error {
            _ if self.needs_system_authorities && self.authorities.is_empty() => {
                SetUpError::NoAuthority
            }
            error => SetUpError::Client(error),
        })
    }
}

fn configured_authorities(config: &UpstreamConfig) -> Result<Vec<Certificate>, SetUpError> {
    let Some(file) = &config.route.ca_file else { return Ok(Vec::new()) };
    let pem = fs::read(file).map_err(|error| SetUpError::CertificateFile(file.clone(), error))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SetUpError::NoCertificate(file.clone())),
    }
}

/// The proxy for requests to `url`, if there is one.
fn proxy(config: &UpstreamConfig, url: &Url) -> Result<Option<Url>, SetUpError> {
    let is_set = |proxy: &&SecretString| !proxy.expose_secret().is_empty();
    let for_all = config.route.proxy.as_ref().filter(is_set);
    let for_https = [&config.route.https_proxy, &config.route.https_proxy_lower_case];
    let Some(address) = for_all.or_else(|| for_https.into_iter().flatten().find(is_set)) else {
        return Ok(None);
    };
    let proxy = http_url(address.expose_secret()).ok_or(SetUpError::Proxy)?;
    let is_for_url = for_all.is_some() || (url.scheme() == "https" && !no_proxy::is_local(url));
    let lists = [&config.route.no_proxy, &config.route.no_proxy_lower_case];
    let list = lists.into_iter().flatten().find(|list| !list.is_empty());
    let is_exception = list.is_some_and(|list| no_proxy::lists(list, url));
    Ok((is_for_url && !is_exception).then_some(proxy))
}

/// The URL of a proxy. The scheme is `http` if the address has none.
fn http_url(address: &str) -> Option<Url> {
    let scheme = if address.contains("://") { "" } else { "http://" };
    let url = Url::parse(&[scheme, address].concat());
    url.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
