//! Who is at the other end of a connection: address and certificates.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use rustls::pki_types::CertificateDer;

/// Who is at the other end. In the extensions of every request.
#[derive(Clone, Default)]
pub struct Peer {
    address: Option<SocketAddr>,
    certificates: Arc<OnceLock<Vec<CertificateDer<'static>>>>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address: Some(address), certificates: Arc::default() }
    }

    pub(crate) fn local() -> Self {
        Self::default()
    }

    /// The TLS handshake, which ends after the connection was taken, has verified these.
    pub(crate) fn prove(&self, certificates: &[CertificateDer<'_>]) {
        let certificates = certificates.iter().map(|each| each.clone().into_owned()).collect();
        let _ = self.certificates.set(certificates);
    }

    /// The client's address; none on a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The client's verified certificate chain, its own first; none without TLS or if it sent
    /// none.
    pub fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.certificates.get().map(Vec::as_slice)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("certificates", &self.certificates().map(<[_]>::len))
            .finish_non_exhaustive()
    }
}
