//! What the client is built from: the authorities it trusts, and the proxy on its way.

use std::{fs, io, path::PathBuf};

use http::{Uri, uri::InvalidUri};
use reqwest::{Certificate, Client, ClientBuilder, Proxy};
use rustls::crypto::ring;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::no_proxy;
use crate::config::UpstreamConfig;

/// Why the way to the vendor cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The file with certificate authorities cannot be read.
    #[error("cannot read the file of certificate authorities {0}")]
    CertificateFile(PathBuf, #[source] io::Error),
    /// It holds no PEM certificate.
    #[error("no PEM certificate in the file of certificate authorities {0}")]
    NoCertificate(PathBuf),
    /// The proxy's address is none for HTTP. The message does not show it: it may hold a password.
    #[error("the address of the proxy is no http or https URL such as http://proxy.example:3128")]
    Proxy,
    /// The vendor's address is none for HTTP.
    #[error("the address of the API is none that HTTP can carry")]
    Address(#[from] InvalidUri),
    /// Nobody could vouch for the vendor.
    #[error("the system has no certificate authorities: name a file of them")]
    NoAuthority,
    /// reqwest or rustls refuses the settings.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// `builder` with the authorities and the proxy of `config`, as they count for `url`.
pub(super) fn client(
    builder: ClientBuilder,
    config: &UpstreamConfig,
    url: &Url,
) -> Result<Client, SetUpError> {
    url.as_str().parse::<Uri>()?;
    let authorities = given_authorities(config)?;
    let has_given = !authorities.is_empty();
    let proxy = proxy(config, url)?;
    let is_https = |url: &Url| url.scheme() == "https";
    // The system's are not looked for where nobody has to be vouched for: there may be none.
    let needs_system = is_https(url) || proxy.as_ref().is_some_and(is_https);
    let builder = if needs_system {
        builder.tls_certs_merge(authorities)
    } else {
        builder.tls_certs_only(authorities)
    };
    let builder = match proxy {
        Some(proxy) => builder.proxy(Proxy::all(proxy).map_err(|_| SetUpError::Proxy)?),
        None => builder.no_proxy(),
    };
    // Without a provider, building the client panics. Whoever installed another one keeps it.
    let _ = ring::default_provider().install_default();
    builder.build().map_err(|error| match error {
        _ if needs_system && !has_given => SetUpError::NoAuthority,
        error => SetUpError::Client(error),
    })
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
