//! TLS of the gRPC port: who is let in, and certificates that change under a running server.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use gotoassist_grpc::server::{
    reload::Reload,
    tls::{ClientCa, Error, Files, Tls},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::Code;

use super::{Client, Edge, Settings, soon};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority of the test's own.
fn authority() -> Issuer {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `localhost`, and its key.
fn issue(authority: &Issuer) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".into()]).unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}

/// The server's files, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("edge-tls-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, authority: &Issuer) -> CertificateDer<'static> {
        let (certificate, key) = issue(authority);
        fs::write(self.0.join("certificate.pem"), certificate.pem()).unwrap();
        fs::write(self.0.join("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn files(&self, client_ca: Option<(&Issuer, bool)>) -> Files {
        Files {
            certificate: self.0.join("certificate.pem"),
            key: self.0.join("key.pem"),
            client_ca: client_ca.map(|(authority, is_required)| {
                let certificates = self.0.join("client_ca.pem");
                fs::write(&certificates, authority.pem()).unwrap();
                ClientCa { certificates, is_required }
            }),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn connect(
    edge: &Edge,
    server: &Issuer,
    client: Option<&Issuer>,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(server.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let (certificate, key) = issue(authority);
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = "localhost".try_into().unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, edge.socket().await)).await
}

/// Calls, and tells how many certificates the server saw.
async fn certificates_seen(stream: TlsStream<tokio::net::TcpStream>) -> Option<u32> {
    let mut client = Client::try_over(stream).await?;
    let answer = client.call("GetSession", "known", &[]).await.ok()?;
    assert_eq!(answer.status().0.code(), Code::Ok);
    answer.headers["certificates"].to_str().unwrap().parse().ok()
}

async fn edge(files: Files) -> (Edge, Arc<Tls>) {
    let tls = Arc::new(Tls::load(files).await.unwrap());
    let settings = Settings { tls: Some(Arc::clone(&tls)), ..Settings::default() };
    (Edge::start(settings).await, tls)
}

#[tokio::test]
async fn new_files_serve_new_connections_and_old_connections_go_on() {
    let (folder, authority) = (Folder::new("reload"), authority());
    let first = folder.write(&authority);
    let (edge, tls) = edge(folder.files(None)).await;

    let stream = connect(&edge, &authority, None).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [first]);
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut old = Client::over(stream).await;
    assert!(!tls.reload().await.unwrap(), "nothing has changed");

    let second = folder.write(&authority);
    assert!(tls.reload().await.unwrap());
    let stream = connect(&edge, &authority, None).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [second]);
    assert_eq!(certificates_seen(stream).await, Some(0));
    assert_eq!(old.call("GetSession", "known", &[]).await.unwrap().status().0.code(), Code::Ok);
}

#[tokio::test]
async fn broken_files_leave_the_old_certificate_in_use() {
    let (folder, authority) = (Folder::new("broken"), authority());
    let good = folder.write(&authority);
    let (edge, tls) = edge(folder.files(None)).await;

    let stranger = KeyPair::generate().unwrap();
    fs::write(folder.0.join("key.pem"), stranger.serialize_pem()).unwrap();
    assert!(matches!(tls.reload().await, Err(Error::Rejected(_))));
    assert!(!tls.reload().await.unwrap(), "the same broken files are reported once");
    fs::write(folder.0.join("certificate.pem"), "nothing").unwrap();
    assert!(matches!(tls.reload().await, Err(Error::Empty(_))));
    fs::remove_file(folder.0.join("key.pem")).unwrap();
    assert!(matches!(tls.reload().await, Err(Error::Read(..))));

    let stream = connect(&edge, &authority, None).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [good]);
}

#[tokio::test]
async fn the_files_are_followed() {
    let (folder, authority) = (Folder::new("follow"), authority());
    folder.write(&authority);
    let tls = Arc::new(Tls::load(folder.files(None)).await.unwrap());
    let before = tls.current();
    folder.write(&authority);
    soon(async {
        tokio::select! {
            () = tls.follow(Duration::from_millis(10), Reload::default().asked()) => {}
            () = async {
                while Arc::ptr_eq(&before, &tls.current()) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            } => {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_required_client_certificate_must_be_there_and_of_the_authority() {
    let (folder, servers, clients) = (Folder::new("required"), authority(), authority());
    folder.write(&servers);
    let (edge, _) = edge(folder.files(Some((&clients, true)))).await;

    for (client, seen) in [(Some(&clients), Some(1)), (Some(&servers), None), (None, None)] {
        // In TLS 1.3 the client has finished before the server refuses.
        let answer = match connect(&edge, &servers, client).await {
            Ok(stream) => certificates_seen(stream).await,
            Err(_) => None,
        };
        assert_eq!(answer, seen);
    }
}

#[tokio::test]
async fn an_optional_client_certificate_may_be_missing() {
    let (folder, servers, clients) = (Folder::new("optional"), authority(), authority());
    folder.write(&servers);
    let (edge, _) = edge(folder.files(Some((&clients, false)))).await;

    let with = connect(&edge, &servers, Some(&clients)).await.unwrap();
    assert_eq!(certificates_seen(with).await, Some(1));
    let without = connect(&edge, &servers, None).await.unwrap();
    assert_eq!(certificates_seen(without).await, Some(0));
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_cut() {
    let (folder, authority) = (Folder::new("silent"), authority());
    folder.write(&authority);
    let tls = Some(Arc::new(Tls::load(folder.files(None)).await.unwrap()));
    let opening = Duration::from_millis(200);
    let edge = Edge::start(Settings { opening, tls, ..Settings::default() }).await;

    let mut silent = edge.socket().await;
    let mut shaken = connect(&edge, &authority, None).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(silent.read_to_end(&mut rest)).await;
    let _ = soon(shaken.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn files_that_give_no_tls_are_an_error_at_the_start() {
    let (folder, authority) = (Folder::new("start"), authority());
    folder.write(&authority);
    let mut files = folder.files(None);
    files.certificate = folder.0.join("absent.pem");
    assert!(matches!(Tls::load(files.clone()).await, Err(Error::Read(..))));
    files.certificate.clone_from(&files.key);
    assert!(matches!(Tls::load(files).await, Err(Error::Empty(_))));
}
