//! The server's certificates. They are reloaded when their files change, so that a renewed
//! certificate needs no restart and ends no stream. (tonic's own TLS reads them only once.)

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use tokio::{fs, time::sleep};
use tracing::{info, warn};

use super::{causes::whole, metric, reload::Asked};

/// The files, all PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The server's certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority of the clients' certificates. Without it, the server asks for none.
    pub client_ca: Option<ClientCa>,
}

/// Which clients' certificates are accepted.
#[derive(Clone, Debug)]
pub struct ClientCa {
    /// The file with the certificates of the authority.
    pub certificates: PathBuf,
    /// Whether a client without a certificate is refused.
    pub is_required: bool,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file is not PEM, or it does not contain what it should.
    #[error("no certificate or key in {}", .0.display())]
    Pem(PathBuf, #[source] pem::Error),
    /// A file holds no certificate.
    #[error("no certificate in {}", .0.display())]
    Empty(PathBuf),
    /// The certificate and the key do not match, or their type is not supported.
    #[error("certificate and key cannot be used")]
    Rejected(#[from] rustls::Error),
    /// The client CA cannot be used.
    #[error("the client CA cannot be used")]
    ClientCa(#[from] VerifierBuilderError),
}

/// Returns all problems of the files.
pub async fn problems(files: &Files) -> Vec<Error> {
    let client_ca = files.client_ca.as_ref().map(|ca| &ca.certificates);
    let mut unreadable = Vec::new();
    for path in [Some(&files.certificate), Some(&files.key), client_ca].into_iter().flatten() {
        unreadable.extend(read(path).await.err());
    }
    if unreadable.is_empty() {
        unreadable.extend(Tls::load(files.clone()).await.err());
    }
    unreadable
}

/// The TLS configuration for new connections. Open connections keep theirs.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Option<Contents>>,
}

impl Tls {
    /// Reads the files.
    pub async fn load(files: Files) -> Result<Self, Error> {
        let contents = Contents::read(&files).await?;
        let current = RwLock::new(Arc::new(contents.to_config(&files)?));
        Ok(Self { files, current, seen: Mutex::new(Some(contents)) })
    }

    /// Returns the configuration for the next connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }

    /// Loads the files if their contents changed. Returns whether they did. After an error the old
    /// configuration stays in use, and the same broken contents are not tried again.
    pub async fn reload(&self) -> Result<bool, Error> {
        let contents = Contents::read(&self.files).await?;
        {
            let mut seen = self.seen.lock();
            if seen.as_ref() == Some(&contents) {
                return Ok(false);
            }
            *seen = Some(contents.clone());
        }
        let config = Arc::new(contents.to_config(&self.files)?);
        *self.current.write() = config;
        Ok(true)
    }

    /// Checks the files every `interval`, and on each request of `asked`. Runs until it is dropped.
    /// It compares contents instead of modification times, because a mounted secret is replaced
    /// through a symlink, and the new file may have any modification time.
    pub async fn follow(&self, interval: Duration, mut asked: Asked) {
        loop {
            tokio::select! {
                () = sleep(interval) => {}
                Ok(()) = asked.changed() => {}
            }
            let result = match self.reload().await {
                Ok(false) => continue,
                Ok(true) => {
                    info!("certificates reloaded");
                    metric::LOADED
                }
                Err(ref error) => {
                    warn!(error = whole(error), "certificates not reloaded");
                    metric::BROKEN
                }
            };
            metrics::counter!(metric::CERTIFICATE_RELOADS, "result" => result).increment(1);
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    async fn read(files: &Files) -> Result<Self, Error> {
        Ok(Self {
            certificate: read(&files.certificate).await?,
            key: read(&files.key).await?,
            client_ca: match &files.client_ca {
                None => None,
                Some(ca) => Some(read(&ca.certificates).await?),
            },
        })
    }

    fn to_config(&self, files: &Files) -> Result<ServerConfig, Error> {
        let chain = certificates(&self.certificate, &files.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| Error::Pem(files.key.clone(), error))?;

        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(ca), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(pem, &ca.certificates)? {
                    roots.add(certificate)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier =
                    if ca.is_required { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build()?)
            }
            (None, _) | (_, None) => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).await.map_err(|error| Error::Read(path.to_owned(), error))
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::Pem(path.to_owned(), error))?;
    if certificates.is_empty() { Err(Error::Empty(path.to_owned())) } else { Ok(certificates) }
}
