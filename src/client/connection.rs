//! Connects to the service, and keeps connections alive.

use std::{fs, path::Path, time::Duration};

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::Error;
use crate::config::ConnectionConfig;

/// Longest time of a connection attempt.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Interval and timeout of HTTP/2 pings on a silent connection. Together they are the time until a
/// watch notices a dead peer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_LIMIT: Duration = Duration::from_secs(10);

/// A channel to `address`, which may also be `unix:PATH`. It connects at the first call, and again
/// after a loss.
pub fn channel(address: &str, config: &ConnectionConfig) -> Result<Channel, Error> {
    let unusable = |error: tonic::transport::Error| Error::Address {
        address: address.to_owned(),
        reason: super::failure::innermost(&error),
    };
    let mut endpoint = Endpoint::from_shared(address.to_owned())
        .and_then(|endpoint| {
            endpoint.user_agent(concat!("gotoassist-grpc/", env!("CARGO_PKG_VERSION")))
        })
        .map_err(unusable)?
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true);
    if address.starts_with("https://") {
        endpoint = endpoint.tls_config(tls(config)?).map_err(unusable)?;
    } else if config.ca_file.is_some() || config.client_certificate_file.is_some() {
        return Err(Error::CertificateWithoutTls { address: address.to_owned() });
    }
    Ok(endpoint.connect_lazy())
}

fn tls(config: &ConnectionConfig) -> Result<ClientTlsConfig, Error> {
    let tls = match &config.ca_file {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    match (&config.client_certificate_file, &config.client_key_file) {
        (Some(certificate), Some(key)) => {
            Ok(tls.identity(Identity::from_pem(read(certificate)?, read(key)?)))
        }
        (_, None) | (None, _) => Ok(tls),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
