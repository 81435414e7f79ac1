//! Connections to the vendor: certificates, HTTP/2, proxies.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use gotoassist_grpc::{
    clock::Clock,
    config::UpstreamConfig,
    traffic::Client,
    wire::{Kind, SetUpError},
};
use rcgen::CertificateParams;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::{caller, client_with, id, terms};
use crate::kit::{
    certificate::{Certified, params},
    folder::Folder,
    stub::{SESSION, Stub, answer, ok},
};

const AUTHORITY: &str = "ca.pem";

/// What the TLS vendor has received.
#[derive(Debug, PartialEq)]
enum Seen {
    Connection,
    Request,
    Reset,
}

pub(super) struct Vendor {
    pub url: url::Url,
    folder: Folder,
    seen: mpsc::UnboundedReceiver<Seen>,
    _tasks: JoinSet<()>,
}

/// A vendor that serves HTTP/2 over TLS with its own certificate. It never answers a request for
/// `slow`. It answers a request for `closing` only if it is the first of its connection, and
/// otherwise closes the connection. It answers all other requests at once.
async fn vendor() -> Vendor {
    vendor_with(&params("127.0.0.1")).await
}

/// The same vendor with another certificate.
pub(super) async fn vendor_with(params: &CertificateParams) -> Vendor {
    start(params, false).await
}

/// The same vendor. If `is_full`, its first connection allows no request.
async fn start(params: &CertificateParams, mut is_full: bool) -> Vendor {
    let certified = Certified::self_signed(params);
    let folder = Folder::new();
    folder.write(AUTHORITY, certified.pem());
    let acceptor = certified.acceptor(&["h2", "http/1.1"]);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}/rest", listener.local_addr().unwrap()).parse().unwrap();
    let (note, seen) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, note) = (acceptor.clone(), note.clone());
            let stream_limit = if std::mem::take(&mut is_full) { 0 } else { 100 };
            connections.spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    note.send(Seen::Connection).ok();
                    serve_http2(stream, note, stream_limit).await;
                }
            });
        }
    });
    Vendor { url, folder, seen, _tasks: tasks }
}

async fn serve_http2(
    stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    note: mpsc::UnboundedSender<Seen>,
    stream_limit: u32,
) {
    let mut server = h2::server::Builder::new();
    let handshake = server.max_concurrent_streams(stream_limit).handshake(stream);
    let Ok(mut connection) = handshake.await else { return };
    let mut slow = JoinSet::new();
    let mut is_used = false;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        note.send(Seen::Request).ok();
        if std::mem::replace(&mut is_used, true) && request.uri().path().ends_with("closing") {
            return;
        }
        if request.uri().path().ends_with("slow") {
            let note = note.clone();
            slow.spawn(async move {
                std::future::poll_fn(|context| respond.poll_reset(context)).await.ok();
                note.send(Seen::Reset).ok();
            });
        } else if let Ok(mut body) = respond.send_response(http::Response::new(()), false) {
            body.send_data(Bytes::from_static(SESSION.as_bytes()), true).ok();
        }
    }
}

impl Vendor {
    /// The file with its certificate.
    fn authority(&self) -> PathBuf {
        self.folder.path(AUTHORITY)
    }

    pub(super) fn client(&self, change: impl FnOnce(&mut UpstreamConfig)) -> Client {
        let mut config = UpstreamConfig::at(self.url.clone());
        config.retries = 0;
        config.route.ca_file = Some(self.authority());
        change(&mut config);
        Client::new(&config, None, Clock::system()).unwrap()
    }
}

#[tokio::test]
async fn an_authority_from_a_file_is_trusted_and_http_2_is_one_connection_for_all() {
    let mut vendor = vendor().await;
    let client = vendor.client(|_| {});
    client.session(&caller(), &id("0"), terms()).await.unwrap();
    let ids: Vec<_> = (1..5).map(|number| id(&number.to_string())).collect();
    let caller = caller();
    let calls = ids.iter().map(|id| client.session(&caller, id, terms()));
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap();
    }
    let mut seen = Vec::new();
    while let Ok(event) = vendor.seen.try_recv() {
        seen.push(event);
    }
    assert_eq!(seen.iter().filter(|event| **event == Seen::Connection).count(), 1);
    assert_eq!(seen.iter().filter(|event| **event == Seen::Request).count(), 5);
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_connect_failed() {
    let (vendor, other) = (vendor().await, vendor().await);
    let client = vendor.client(|config| {
        config.route.ca_file = Some(other.authority());
    });
    let error = client.session(&caller(), &id("1"), terms()).await.unwrap_err();
    assert_eq!(error.kind, Kind::ConnectFailed);
}

#[tokio::test]
async fn a_cancelled_call_resets_its_stream_and_leaves_the_connection() {
    let mut vendor = vendor().await;
    let client = vendor.client(|_| {});
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.session(&caller(), &id("slow"), terms()).await }
    });
    assert_eq!(vendor.seen.recv().await, Some(Seen::Connection));
    assert_eq!(vendor.seen.recv().await, Some(Seen::Request));
    call.abort();
    assert_eq!(vendor.seen.recv().await, Some(Seen::Reset));
    client.session(&caller(), &id("1"), terms()).await.unwrap();
    assert_eq!(vendor.seen.recv().await, Some(Seen::Request));
}

#[tokio::test]
async fn a_kept_alive_connection_that_closes_fails_no_call_over_http_2() {
    let mut vendor = vendor().await;
    let client = vendor.client(|_| {});
    for _ in 0..10 {
        client.session(&caller(), &id("closing"), terms()).await.unwrap();
    }
    let mut requests = 0;
    while let Ok(event) = vendor.seen.try_recv() {
        requests += usize::from(event == Seen::Request);
    }
    assert!(requests > 10, "some were sent twice: {requests}");
}

#[tokio::test]
async fn a_connection_that_takes_no_request_is_replaced_after_three_time_outs() {
    let vendor = start(&params("127.0.0.1"), true).await;
    let client = vendor.client(|config| {
        config.timeout = Duration::from_millis(500);
        config.breaker_failures = 0;
    });
    // The client may send the first request before the vendor's limit of streams arrives.
    let mut failures = usize::from(client.session(&caller(), &id("1"), terms()).await.is_err());
    while let Err(error) = client.session(&caller(), &id("1"), terms()).await {
        assert_eq!(error.kind, Kind::Timeout);
        failures += 1;
        assert!(failures < 10, "no new connection");
    }
    assert!(failures >= 3, "the first connection took a request");
}

#[test]
fn a_file_without_a_certificate_is_told_before_anything_starts() {
    let set_up = |file| {
        let mut config = UpstreamConfig::at("https://vendor.invalid".parse().unwrap());
        config.route.ca_file = Some(file);
        Client::new(&config, None, Clock::system()).unwrap_err()
    };
    let folder = Folder::new();
    let empty = folder.write("empty.pem", "").into();
    assert!(matches!(set_up(empty), SetUpError::NoCertificate(_)));
    assert!(matches!(set_up("no/such/file".into()), SetUpError::CertificateFile(..)));
}

#[tokio::test]
async fn a_proxy_is_used_for_https_and_asked_by_connect() {
    let proxy = Stub::always(answer("407 Proxy Authentication Required", &[], "")).await;
    let address = format!("http://user:hunter2@{}", proxy.url().authority());
    for by_flag in [true, false] {
        let seen = proxy.requests();
        let mut config = UpstreamConfig::at("https://vendor.invalid/rest".parse().unwrap());
        config.retries = 0;
        let place = if by_flag { &mut config.route.proxy } else { &mut config.route.https_proxy };
        *place = Some(address.clone().into());
        let client = Client::new(&config, None, Clock::system()).unwrap();
        let error = client.session(&caller(), &id("1"), terms()).await.unwrap_err();
        assert_eq!(error.kind, Kind::ConnectFailed);
        let heads = proxy.heads();
        assert_eq!(heads.len(), seen + 1);
        assert!(heads[seen].starts_with("CONNECT vendor.invalid:443 "), "{}", heads[seen]);
        assert!(heads[seen].to_lowercase().contains("proxy-authorization: basic"));
        assert!(!heads[seen].contains("caller-token"));
    }
}

#[tokio::test]
async fn in_the_tunnel_it_is_the_vendor_who_speaks_tls_and_http_2() {
    let mut vendor = vendor().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let server = vendor.url.authority().to_owned();
    let mut tunnel = JoinSet::new();
    tunnel.spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await.unwrap());
        }
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let mut far = TcpStream::connect(server).await.unwrap();
        tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
    });
    let client = vendor.client(|config| config.route.proxy = Some(proxy.into()));
    client.session(&caller(), &id("1"), terms()).await.unwrap();
    assert_eq!(vendor.seen.recv().await, Some(Seen::Connection));
    assert_eq!(vendor.seen.recv().await, Some(Seen::Request));
    assert_eq!(tunnel.len(), 1);
}

#[tokio::test]
async fn for_an_http_url_the_proxy_gets_the_request_with_its_whole_address() {
    let proxy = Stub::always(ok(SESSION)).await;
    let mut config = UpstreamConfig::at("http://vendor.invalid/rest".parse().unwrap());
    config.route.proxy = Some(format!("user:hunter2@{}", proxy.url().authority()).into());
    let client = Client::new(&config, None, Clock::system()).unwrap();
    client.session(&caller(), &id("1"), terms()).await.unwrap();
    let head = proxy.heads().remove(0);
    assert!(head.starts_with("GET http://vendor.invalid/rest/sessions/1 HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    assert!(head.contains("\r\nhost: vendor.invalid\r\n"), "{head}");
    assert!(head.contains("\r\nproxy-authorization: basic dxnlcjpodw50zxiy\r\n"), "{head}");
}

#[tokio::test]
async fn hosts_in_no_proxy_and_http_urls_are_reached_directly() {
    let (vendor, proxy) = (vendor().await, Stub::always(ok(SESSION)).await);
    let address = || Some(proxy.url().to_string().into());
    let client = vendor.client(|config| {
        config.route.https_proxy = address();
        config.route.no_proxy = Some("example.com,127.0.0.1".to_owned());
    });
    client.session(&caller(), &id("1"), terms()).await.unwrap();

    let plain = Stub::always(ok(SESSION)).await;
    let client = client_with(&plain, |config| config.route.https_proxy = address());
    client.session(&caller(), &id("1"), terms()).await.unwrap();
    assert_eq!((plain.requests(), proxy.connections()), (1, 0));
}

#[tokio::test]
async fn no_proxy_is_read_as_go_reads_it() {
    let (vendor, proxy) = (vendor().await, Stub::always(answer("502 x", &[], "")).await);
    let port = vendor.url.port().unwrap();
    let proxied = async |upper: &str, lower: Option<&str>| {
        let seen = proxy.connections();
        let client = vendor.client(|config| {
            config.route.proxy = Some(proxy.url().to_string().into());
            config.route.no_proxy = Some(upper.to_owned());
            config.route.no_proxy_lower_case = lower.map(str::to_owned);
        });
        let answered = client.session(&caller(), &id("1"), terms()).await.is_ok();
        assert_ne!(answered, proxy.connections() > seen);
        !answered
    };
    for list in ["*", &format!("127.0.0.1:{port}"), "127.0.0.0/8", "x.example, 127.0.0.1"] {
        assert!(!proxied(list, None).await, "{list}");
        assert!(!proxied(list, Some("")).await, "an empty one does not hide {list}");
        assert!(!proxied("", Some(list)).await, "nor does it the other way round: {list}");
        assert!(!proxied(list, Some("other.example")).await, "the upper-case one counts: {list}");
    }
    for list in ["127.0.0.1:1", "127.0.0.0/32", "*.example", ":80", ""] {
        assert!(proxied(list, None).await, "{list}");
    }
}

#[tokio::test]
async fn the_environments_proxy_is_not_for_this_machine() {
    let (vendor, proxy) = (vendor().await, Stub::always(answer("502 x", &[], "")).await);
    let client =
        vendor.client(|config| config.route.https_proxy = Some(proxy.url().to_string().into()));
    client.session(&caller(), &id("1"), terms()).await.unwrap();
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn a_proxy_that_is_no_url_or_not_http_is_told_without_showing_it() {
    for address in ["http://user:hunter2@[", "socks5://user:hunter2@127.0.0.1:1080"] {
        let mut config = UpstreamConfig::at("https://vendor.invalid".parse().unwrap());
        config.route.proxy = Some(address.to_owned().into());
        let error = Client::new(&config, None, Clock::system()).unwrap_err();
        assert!(matches!(error, SetUpError::Proxy));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
