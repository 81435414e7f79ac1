//! What the clients of reqwest are built from: the authorities they trust, the proxy on their way, and
//! the rules of the connections.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use http::{Uri, uri::InvalidUri};
use reqwest::{Certificate, Client, ClientBuilder, Proxy, redirect, retry};
use rustls::crypto::ring;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{addresses::Addresses, no_proxy};
use crate::config::UpstreamConfig;

/// Shorter than the minute after which load balancers close, so that we close first.
const IDLE: Duration = Duration::from_secs(45);

/// A dead path is noticed by nothing else (hyperium/hyper#4186): how often a connection in use is
/// asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));

/// Header fields of an HTTP/1.1 answer. hyper takes 100 if nobody says otherwise.
const HEADER_FIELDS: usize = 1024;

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
    /// The address of the proxy is no HTTP URL. The message does not show it: it may hold a password.
    #[error("the address of the proxy is no http or https URL such as http://proxy.example:3128")]
    Proxy,
    /// The address of the vendor is no HTTP URL.
    #[error("the address of the API is none that HTTP can carry")]
    Address(#[from] InvalidUri),
    /// There is no authority to check the vendor's certificate against.
    #[error("the system has no certificate authorities: name a file of them")]
    NoAuthority,
    /// reqwest or rustls refuses the settings.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Builds clients that are alike but share no connection.
pub(super) struct SetUp {
    /// Those of the configuration.
    pub authorities: Vec<Certificate>,
    needs_system: bool,
    proxy: Option<Proxy>,
    addresses: Arc<Addresses>,
    connect_timeout: Duration,
}

impl SetUp {
    /// The authorities and the proxy of `config`, as they apply to `url`.
    pub fn new(
        config: &UpstreamConfig,
        url: &Url,
        addresses: Arc<Addresses>,
    ) -> Result<Self, SetUpError> {
        url.as_str().parse::<Uri>()?;
        let proxy = proxy(config, url)?;
        let is_https = |url: &Url| url.scheme() == "https";
        Ok(Self {
            authorities: given_authorities(config)?,
            // Where no certificate is checked, the system need not have any authorities.
            needs_system: is_https(url) || proxy.as_ref().is_some_and(is_https),
            proxy: proxy.map(Proxy::all).transpose().map_err(|_| SetUpError::Proxy)?,
            addresses,
            connect_timeout: config.connect_timeout,
        })
    }

    /// A client that keeps its connections for later requests.
    pub fn pooled(&self) -> Result<Client, SetUpError> {
        self.build(Client::builder().pool_idle_timeout(IDLE))
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
            // Bodies are unpacked in `coding`, also where reqwest is built with gzip.
            .no_gzip()
            .dns_resolver(Arc::clone(&self.addresses))
            .connect_timeout(self.connect_timeout)
            .http1_max_headers(HEADER_FIELDS)
            // As curl and browsers do: a bad header field, such as a cookie, does not spoil the answer.
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http2_keep_alive_interval(interval)
            .http2_keep_alive_timeout(limit);
        let authorities = self.authorities.iter().cloned();
        let builder = if self.needs_system {
            builder.tls_certs_merge(authorities)
        } else {
            builder.tls_certs_only(authorities)
        };
        let builder = match &self.proxy {
            Some(proxy) => builder.proxy(proxy.clone()),
            None => builder.no_proxy(),
        };
        // Without a provider, building the client panics. Whoever installed another one keeps it.
        let _ = ring::default_provider().install_default();
        builder.build().map_err(|error| match error {
            _ if self.needs_system && self.authorities.is_empty() => SetUpError::NoAuthority,
            error => SetUpError::Client(error),
        })
    }
}

fn given_authorities(config: &UpstreamConfig) -> Result<Vec<Certificate>, SetUpError> {
    let Some(file) = &config.ca_file else { return Ok(Vec::new()) };
    let pem = fs::read(file).map_err(|error| SetUpError::CertificateFile(file.clone(), error))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SetUpError::NoCertificate(file.clone())),
    }
}

/// The proxy on the way to `url`, if there is one.
fn proxy(config: &UpstreamConfig, url: &Url) -> Result<Option<Url>, SetUpError> {
    let is_set = |proxy: &&SecretString| !proxy.expose_secret().is_empty();
    let for_all = config.proxy.as_ref().filter(is_set);
    let for_https = [&config.https_proxy, &config.https_proxy_lower_case];
    let Some(address) = for_all.or_else(|| for_https.into_iter().flatten().find(is_set)) else {
        return Ok(None);
    };
    let proxy = http_url(address.expose_secret()).ok_or(SetUpError::Proxy)?;
    let is_for_url = for_all.is_some() || (url.scheme() == "https" && !no_proxy::is_local(url));
    let lists = [&config.no_proxy, &config.no_proxy_lower_case];
    let list = lists.into_iter().flatten().find(|list| !list.is_empty());
    let is_exception = list.is_some_and(|list| no_proxy::names(list, url));
    Ok((is_for_url && !is_exception).then_some(proxy))
}

/// `address` as the URL of a proxy; `http` is meant where no scheme is named.
fn http_url(address: &str) -> Option<Url> {
    let url = if address.contains("://") {
        Url::parse(address)
    } else {
        Url::parse(&format!("http://{address}"))
    };
    url.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
