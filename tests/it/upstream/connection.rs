//! Why a connection fails. Each cause has its own name.

use std::time::Duration;

use gotoassist_grpc::{
    clock::Clock,
    config::UpstreamConfig,
    traffic::Client,
    wire::{ConnectionFailure, Error, Kind},
};
use rcgen::{DnType, date_time_ymd};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::{caller, client_with, id, terms, tls::vendor_with};
use crate::kit::{
    certificate::params,
    stub::{Step, Stub, answer},
};

/// The error of a client of `url` that does not retry.
async fn error(url: &str, change: impl FnOnce(&mut UpstreamConfig)) -> Error {
    let mut config = UpstreamConfig::at(url.parse().unwrap());
    config.retries = 0;
    change(&mut config);
    let client = Client::new(&config, None, Clock::system()).unwrap();
    client.session(&caller(), &id("1"), terms()).await.expect_err("no connection")
}

fn told(error: &Error) -> (Kind, Option<&str>) {
    (error.kind, error.connection.map(ConnectionFailure::name))
}

#[tokio::test]
async fn nobody_listens() {
    let stub = Stub::always(vec![]).await;
    let url = stub.url();
    stub.stop().await;
    let error = error(url.as_str(), |_| {}).await;
    assert_eq!(told(&error), (Kind::ConnectFailed, Some("refused")));
}

#[tokio::test]
async fn the_name_does_not_exist() {
    // The label is too long for DNS, so no name server is asked.
    let name = format!("http://{}.invalid", "x".repeat(64));
    assert_eq!(told(&error(&name, |_| {}).await), (Kind::ConnectFailed, Some("dns")));
}

#[tokio::test]
async fn the_connection_does_not_come_about_in_time() {
    let silent = Stub::always(vec![]).await;
    let url = format!("https://{}", silent.url().authority());
    let error = error(&url, |config| config.connect_timeout = Duration::from_millis(100)).await;
    assert_eq!(told(&error), (Kind::ConnectFailed, Some("timed_out")));
}

#[tokio::test]
async fn a_certificate_is_of_an_unknown_authority_or_for_another_name_or_out_of_date() {
    let (mut expired, mut early) = (params("127.0.0.1"), params("127.0.0.1"));
    (expired.not_before, expired.not_after) =
        (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    early.not_before = date_time_ymd(3001, 1, 1);
    // Two certificates have an unknown authority. That of the second one has the name of a known
    // authority, but another key.
    let mut unknown = params("127.0.0.1");
    unknown.distinguished_name.push(DnType::CommonName, "another authority");
    for (certificate, is_trusted, cause) in [
        (unknown, false, "certificate_unknown_issuer"),
        (params("127.0.0.1"), false, "certificate_unknown_issuer"),
        (params("other.example"), true, "certificate_name"),
        (expired, true, "certificate_expired"),
        (early, true, "certificate_expired"),
    ] {
        let stranger = vendor_with(&params("127.0.0.1")).await;
        let vendor = vendor_with(&certificate).await;
        let client = if is_trusted {
            vendor.client(|_| {})
        } else {
            stranger.client(|config| config.url = vendor.url.clone())
        };
        let error = client.session(&caller(), &id("1"), terms()).await.unwrap_err();
        assert_eq!(told(&error), (Kind::ConnectFailed, Some(cause)));
    }
}

#[tokio::test]
async fn the_other_end_speaks_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let speak = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (error, _stream) = tokio::join!(error(&url, |_| {}), speak);
    assert_eq!(told(&error), (Kind::ConnectFailed, Some("tls")));
}

#[tokio::test]
async fn the_proxy_wants_credentials_or_opens_no_tunnel_or_is_not_there() {
    for (steps, cause) in [
        (answer("407 Proxy Authentication Required", &[], ""), "proxy_auth_required"),
        (answer("403 Forbidden", &[], "no"), "proxy_refused"),
        (answer("502 Bad Gateway", &[], ""), "proxy_refused"),
        (vec![Step::Send(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec())], "proxy_refused"),
        (vec![Step::Close], "proxy_refused"),
        (vec![Step::Reset], "reset"),
        (vec![Step::Hang], "timed_out"),
    ] {
        let proxy = Stub::always(steps).await;
        let error = error("https://vendor.invalid", |config| {
            config.route.proxy = Some(proxy.url().to_string().into());
            config.connect_timeout = Duration::from_secs(1);
        });
        assert_eq!(told(&error.await), (Kind::ConnectFailed, Some(cause)));
    }
    let gone = Stub::always(vec![]).await;
    let url = gone.url().to_string();
    gone.stop().await;
    let error =
        error("https://vendor.invalid", |config| config.route.proxy = Some(url.into())).await;
    assert_eq!(told(&error), (Kind::ConnectFailed, Some("refused")));
}

/// A limit of reqwest's tunnel (docs/upstream.md). If this test fails, reqwest has removed the
/// limit, and the page must be updated.
#[tokio::test]
async fn a_tunnel_that_is_not_opened_by_200_at_once_is_told_as_the_proxys() {
    for head in ["HTTP/1.1 201 Created", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"] {
        let opened = format!("{head}\r\n\r\n");
        let proxy = Stub::always(vec![Step::Send(opened.into())]).await;
        let error = error("https://vendor.invalid", |config| {
            config.route.proxy = Some(proxy.url().to_string().into());
        });
        assert_eq!(told(&error.await), (Kind::ConnectFailed, Some("proxy_refused")), "{head}");
        assert_eq!(proxy.connections(), 1);
    }
}

#[tokio::test]
async fn an_open_connection_breaks() {
    let head = || Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec());
    for steps in
        [vec![Step::Reset], vec![Step::Close], vec![head(), Step::Reset], vec![head(), Step::Close]]
    {
        let stub = Stub::always(steps).await;
        let client = client_with(&stub, |config| config.retries = 0);
        let error = client.session(&caller(), &id("1"), terms()).await.unwrap_err();
        assert_eq!(told(&error), (Kind::Unavailable, Some("reset")));
    }
}

#[tokio::test]
async fn an_answer_has_no_cause_in_the_connection() {
    let stub = Stub::always(answer("503 x", &[], "")).await;
    let client = client_with(&stub, |config| config.retries = 0);
    let error = client.session(&caller(), &id("1"), terms()).await.unwrap_err();
    assert_eq!(told(&error), (Kind::Unavailable, None));
}
