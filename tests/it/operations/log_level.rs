//! The level of the log while the service runs, through the admin port.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use super::{Serve, binary, run, session, signed, soon};
use crate::kit::stub::{Stub, ok};

/// A line at debug level, for each request to GoToAssist.
const DEBUG_LINE: &str = "asked GoToAssist";

async fn serve(vendor: &Stub) -> Serve {
    Serve::start(&["--upstream-url", vendor.url().as_str(), "--log-format=json"]).await
}

async fn vendor() -> Stub {
    Stub::always(ok(r#"{"sessionId":"250040353","status":"waiting"}"#)).await
}

async fn log_level(serve: &Serve, words: &[&str]) -> (i32, String, String) {
    let admin = format!("http://{}", serve.admin);
    run(binary(&[&["log-level", "--admin", &admin], words].concat())).await
}

/// The status and the body of the answer to a request from this address.
async fn request(serve: &Serve, from: &str, head: &str) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let mut socket = soon(socket.connect(serve.admin)).await.unwrap();
    let request = format!("{head}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn the_level_changes_while_the_service_runs_and_can_be_reset() {
    let vendor = vendor().await;
    let serve = serve(&vendor).await;
    let mut client = serve.client().await;
    let mut ask = async |id| client.get_session(signed(session(id), "Bearer a")).await.unwrap();
    ask("before").await;
    assert_eq!(log_level(&serve, &["--output=text"]).await.1, "info\n");

    let (status, stdout, stderr) = log_level(&serve, &["debug", "--output=text"]).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "debug (until the service restarts; --log-level is info)\n");
    ask("between").await;
    serve.until_logged(DEBUG_LINE).await;

    let (status, stdout, _) = log_level(&serve, &["--reset"]).await;
    assert_eq!((status, &*stdout), (0, "{\"configured\":\"info\",\"level\":\"info\"}\n"));
    ask("after").await;
    let log = serve.stop().await;
    assert_eq!(log.matches(DEBUG_LINE).count(), 1, "{log}");
    assert_eq!(log.matches("the log level was changed").count(), 2, "{log}");
}

#[tokio::test]
async fn a_change_is_logged_even_if_it_silences_the_log_or_ends_the_silence() {
    let vendor = vendor().await;
    let serve = serve(&vendor).await;
    assert_eq!(log_level(&serve, &["off"]).await.0, 0);
    assert_eq!(log_level(&serve, &["warn,gotoassist_grpc::traffic=debug"]).await.0, 0);
    assert_eq!(log_level(&serve, &["info"]).await.0, 0);
    let log = serve.stop().await;
    assert!(log.contains(r#""level":"off","before":"info""#), "{log}");
    assert!(log.contains(r#""before":"warn,gotoassist_grpc::traffic=debug""#), "{log}");
}

/// They may hold headers, and with them tokens.
#[tokio::test]
async fn inner_lines_of_libraries_stay_hidden() {
    let vendor = vendor().await;
    let serve = serve(&vendor).await;
    assert_eq!(log_level(&serve, &["trace,h2=trace,hyper=trace,tower=trace"]).await.0, 0);
    let mut client = serve.client().await;
    client.get_session(signed(session("a"), "Bearer hush-token")).await.unwrap();
    let log = serve.stop().await;
    assert!(log.contains(DEBUG_LINE) && !log.contains("hush-token"), "{log}");
    let of_libraries = ["h2", "hyper", "tower"].map(|name| format!(r#""target":"{name}"#));
    assert!(of_libraries.iter().all(|target| !log.contains(target)), "{log}");
}

#[tokio::test]
async fn a_bad_level_is_refused_and_changes_nothing() {
    let vendor = vendor().await;
    let serve = serve(&vendor).await;
    let long = "info,".repeat(1_000);
    for bad in ["loud", "info=no=filter", "", &long] {
        let (status, stdout, stderr) = log_level(&serve, &[bad]).await;
        assert_eq!((status, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
    }
    let (status, body) = request(&serve, "127.0.0.1", "POST /log-level HTTP/1.1\r\nhost: a").await;
    assert_eq!((status, body.as_str()), (400, "say which level: /log-level?level=debug\n"));
    assert_eq!(log_level(&serve, &["--output=text"]).await.1, "info\n");
    assert_eq!(log_level(&serve, &["debug", "--reset"]).await.0, 2);
    serve.stop().await;
}

/// Whoever can change the level could silence the log.
#[tokio::test]
async fn only_programs_on_this_machine_may_change_the_level() {
    let vendor = vendor().await;
    let serve = serve(&vendor).await;
    let post = "POST /log-level?level=off HTTP/1.1\r\nhost: a";
    // Istio's sidecar passes requests of others on from this address.
    assert_eq!(request(&serve, "127.0.0.6", post).await.0, 403);
    for field in ["origin: http://example.com", "x-forwarded-for: 10.0.0.1", "via: 1.1 proxy"] {
        let (status, body) = request(&serve, "127.0.0.1", &format!("{post}\r\n{field}")).await;
        assert_eq!(status, 403, "{field}");
        assert!(body.contains("from this machine only"), "{body}");
    }
    assert_eq!(log_level(&serve, &["--output=text"]).await.1, "info\n");
    assert_eq!(request(&serve, "127.0.0.1", post).await.0, 200);
    assert_eq!(
        log_level(&serve, &["--output=text"]).await.1,
        "off (until the service restarts; --log-level is info)\n"
    );
    serve.stop().await;
}

/// Both commands of the admin port say in words what is wrong.
#[tokio::test]
async fn a_wrong_address_of_the_admin_port_is_told_in_words() {
    let vendor = vendor().await;
    let serve = serve(&vendor).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    let api = serve.address().to_string();
    for command in ["status", "log-level"] {
        for (admin, told) in [
            (&*silent, "no answer within 200ms"),
            (&api, "not that of an admin port"),
            ("127.0.0.1:1", "no connection to the admin port: Connection refused"),
        ] {
            let (status, _, stderr) =
                run(binary(&[command, "--admin", admin, "--timeout=200ms"])).await;
            assert_eq!((status, stderr.lines().count()), (1, 1), "{stderr}");
            assert!(stderr.contains(told), "{command} {admin}: {stderr}");
        }
    }
    serve.stop().await;
}
