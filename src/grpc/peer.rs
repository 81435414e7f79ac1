//! The peer of a connection: its address and certificates.

use std::{fmt, net::SocketAddr, sync::Arc};

use rustls::pki_types::CertificateDer;

/// The peer of a connection. Every request has it in its extensions.
#[derive(Clone, Default)]
pub struct Peer {
    address: Option<SocketAddr>,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address: Some(address), ..Self::default() }
    }

    pub(crate) fn local() -> Self {
        Self::default()
    }

    /// Returns the peer with the certificates that the TLS handshake has verified.
    pub(crate) fn with_certificates(self, certificates: &[CertificateDer<'_>]) -> Self {
        let certificates = certificates.iter().map(|each| each.clone().into_owned()).collect();
        Self { certificates, ..self }
    }

    /// Returns the client's address. `None` on a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns the client's verified certificate chain, its own certificate first. It is empty
    /// without TLS, or if the client sent no certificate.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("certificates", &self.certificates.len())
            .finish_non_exhaustive()
    }
}
