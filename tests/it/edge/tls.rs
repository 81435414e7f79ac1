//! TLS of the gRPC port: which clients are accepted, and certificates that change on a running
//! server.

use std::{fs, sync::Arc, time::Duration};

use gotoassist_grpc::server::{
    reload::Reload,
    tls::{ClientCa, Error, Files, Tls},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::Code;

use super::{Client, Edge, Settings, soon};
use crate::kit::{certificate::Authority, folder::Folder};

/// Writes a new certificate for `localhost` to the server's files, and returns it.
fn renew(folder: &Folder, authority: &Authority) -> CertificateDer<'static> {
    let certified = authority.issue("localhost");
    folder.write("certificate.pem", certified.pem());
    folder.write("key.pem", certified.key_pem());
    certified.der()
}

/// The server's files.
fn files(folder: &Folder, client_ca: Option<(&Authority, bool)>) -> Files {
    Files {
        certificate: folder.path("certificate.pem"),
        key: folder.path("key.pem"),
        client_ca: client_ca.map(|(authority, is_required)| {
            let certificates = folder.write("client_ca.pem", authority.pem()).into();
            ClientCa { certificates, is_required }
        }),
    }
}

async fn connect(
    edge: &Edge,
    server: &Authority,
    client: Option<&Authority>,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(server.der()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let certified = authority.issue("localhost");
            builder.with_client_auth_cert(vec![certified.der()], certified.key_der()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = "localhost".try_into().unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, edge.socket().await)).await
}

/// Makes a call. Returns how many certificates the server saw.
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
    let (folder, authority) = (Folder::new(), Authority::new());
    let first = renew(&folder, &authority);
    let (edge, tls) = edge(files(&folder, None)).await;

    let stream = connect(&edge, &authority, None).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [first]);
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut old = Client::over(stream).await;
    assert!(!tls.reload().await.unwrap(), "nothing has changed");

    let second = renew(&folder, &authority);
    assert!(tls.reload().await.unwrap());
    let stream = connect(&edge, &authority, None).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [second]);
    assert_eq!(certificates_seen(stream).await, Some(0));
    assert_eq!(old.call("GetSession", "known", &[]).await.unwrap().status().0.code(), Code::Ok);
}

#[tokio::test]
async fn broken_files_leave_the_old_certificate_in_use() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let good = renew(&folder, &authority);
    let (edge, tls) = edge(files(&folder, None)).await;

    folder.write("key.pem", authority.issue("localhost").key_pem());
    assert!(matches!(tls.reload().await, Err(Error::Rejected(_))));
    assert!(!tls.reload().await.unwrap(), "the same broken files are reported once");
    folder.write("certificate.pem", "nothing");
    assert!(matches!(tls.reload().await, Err(Error::Empty(_))));
    fs::remove_file(folder.path("key.pem")).unwrap();
    assert!(matches!(tls.reload().await, Err(Error::Read(..))));

    let stream = connect(&edge, &authority, None).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [good]);
}

#[tokio::test]
async fn the_files_are_followed() {
    let (folder, authority) = (Folder::new(), Authority::new());
    renew(&folder, &authority);
    let tls = Arc::new(Tls::load(files(&folder, None)).await.unwrap());
    let before = tls.current();
    renew(&folder, &authority);
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
    let (folder, servers, clients) = (Folder::new(), Authority::new(), Authority::new());
    renew(&folder, &servers);
    let (edge, _) = edge(files(&folder, Some((&clients, true)))).await;

    for (client, seen) in [(Some(&clients), Some(1)), (Some(&servers), None), (None, None)] {
        // In TLS 1.3 the handshake of the client ends before the server refuses its certificate.
        let answer = match connect(&edge, &servers, client).await {
            Ok(stream) => certificates_seen(stream).await,
            Err(_) => None,
        };
        assert_eq!(answer, seen);
    }
}

#[tokio::test]
async fn an_optional_client_certificate_may_be_missing() {
    let (folder, servers, clients) = (Folder::new(), Authority::new(), Authority::new());
    renew(&folder, &servers);
    let (edge, _) = edge(files(&folder, Some((&clients, false)))).await;

    let with = connect(&edge, &servers, Some(&clients)).await.unwrap();
    assert_eq!(certificates_seen(with).await, Some(1));
    let without = connect(&edge, &servers, None).await.unwrap();
    assert_eq!(certificates_seen(without).await, Some(0));
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_cut() {
    let (folder, authority) = (Folder::new(), Authority::new());
    renew(&folder, &authority);
    let tls = Some(Arc::new(Tls::load(files(&folder, None)).await.unwrap()));
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
    let (folder, authority) = (Folder::new(), Authority::new());
    renew(&folder, &authority);
    let mut absent = files(&folder, None);
    absent.certificate = folder.path("absent.pem");
    assert!(matches!(Tls::load(absent.clone()).await, Err(Error::Read(..))));
    absent.certificate.clone_from(&absent.key);
    assert!(matches!(Tls::load(absent).await, Err(Error::Empty(_))));
}
