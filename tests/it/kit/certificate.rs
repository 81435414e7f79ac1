//! Certificates made for a test.

use std::{fs, sync::Arc};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

/// A certificate that is its own authority, and speaks for 127.0.0.1.
pub struct SelfSigned {
    /// As whoever is to trust it wants it: PEM in a file.
    pub file: NamedTempFile,
    config: rustls::ServerConfig,
}

impl SelfSigned {
    pub fn for_loopback() -> Self {
        Self::new(&CertificateParams::new(["127.0.0.1".to_owned()]).unwrap())
    }

    pub fn new(params: &CertificateParams) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let signing_key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&signing_key).unwrap();
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), certificate.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        Self { file, config }
    }

    /// Where its file is, as a flag takes it.
    pub fn path(&self) -> String {
        self.file.path().display().to_string()
    }

    /// A TLS server with this certificate, which offers these protocols.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
