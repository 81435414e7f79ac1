//! What the client is built from: the authorities it trusts, and the proxy on its way.

use std::{fs, io, path::PathBuf, sync::Arc};

use http::{HeaderValue, Uri, uri::InvalidUri};
use hyper_util::client::proxy::matcher::Matcher;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

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
    /// rustls refuses its own defaults.
    #[error("cannot set up TLS towards the vendor")]
    Tls(#[from] rustls::Error),
}

/// The proxy on the way.
#[derive(Clone)]
pub(super) struct Proxy {
    pub address: Uri,
    pub authorization: Option<HeaderValue>,
}

/// TLS 1.2 or newer; the system's authorities count, and those of `config`.
pub(super) fn tls(config: &UpstreamConfig, url: &Url) -> Result<ClientConfig, SetUpError> {
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(given(config)?);
    // Not looked for where nobody has to be vouched for: that takes a while, and there may be none.
    if url.scheme() == "https" || config.proxy.is_some() {
        let system = rustls_native_certs::load_native_certs().certs;
        authorities.add_parsable_certificates(system);
        if url.scheme() == "https" && authorities.is_empty() {
            return Err(SetUpError::NoAuthority);
        }
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth())
}

fn given(config: &UpstreamConfig) -> Result<Vec<CertificateDer<'static>>, SetUpError> {
    let Some(file) = &config.ca_file else { return Ok(Vec::new()) };
    let pem = fs::read(file).map_err(|error| SetUpError::CertificateFile(file.clone(), error))?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SetUpError::NoCertificate(file.clone())),
    }
}

/// The proxy on the way to `url`, if there is one.
pub(super) fn proxy(config: &UpstreamConfig, url: &Url) -> Result<Option<Proxy>, SetUpError> {
    let is_set = |proxy: &&SecretString| !proxy.expose_secret().is_empty();
    let for_all = config.proxy.as_ref().filter(is_set);
    let for_https = [&config.https_proxy_lower_case, &config.https_proxy];
    let Some(address) = for_all.or_else(|| for_https.into_iter().flatten().find(is_set)) else {
        return Ok(None);
    };
    let destination = uri(url)?;
    let except = |hosts: &str| {
        let proxies = Matcher::builder().all(address.expose_secret()).no(hosts).build();
        proxies.intercept(&destination)
    };
    // Without exceptions there is none only if the address is bad.
    let is_http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    if !except("").is_some_and(|proxy| is_http(proxy.uri())) {
        return Err(SetUpError::Proxy);
    }
    if for_all.is_none() && url.scheme() != "https" {
        return Ok(None);
    }
    let exceptions = config.no_proxy_lower_case.as_deref().or(config.no_proxy.as_deref());
    Ok(except(exceptions.unwrap_or_default()).map(|proxy| Proxy {
        address: proxy.uri().clone(),
        authorization: proxy.basic_auth().cloned(),
    }))
}

/// `url` as HTTP writes it.
pub(in crate::rest) fn uri(url: &Url) -> Result<Uri, SetUpError> {
    Ok(url.as_str().parse()?)
}
