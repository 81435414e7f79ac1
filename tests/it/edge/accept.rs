//! Connections: their number, their lifetime, and how they end.

use std::{path::PathBuf, time::Duration};

use gotoassist_grpc::server::{gate::Gate, http2, listen::Listener};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tonic::Code;

use super::{Client, Edge, Settings, call::recorder, soon};

async fn until_closed(mut socket: TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    let _ = soon(socket.read_to_end(&mut rest)).await;
    start.elapsed()
}

async fn until_open(gate: &Gate, connections: usize) {
    soon(async {
        while gate.open_connections() != connections {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

const GOAWAY: u8 = 7;

/// A connection that has sent only its preface and empty SETTINGS. The server has read both.
pub async fn raw_client(edge: &Edge) -> TcpStream {
    let mut socket = edge.socket().await;
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    // Reads until the server has acknowledged the SETTINGS.
    while head[3..5] != [4, 1] {
        soon(socket.read_exact(&mut head)).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        soon(socket.read_exact(&mut vec![0; usize::try_from(length).unwrap()])).await.unwrap();
    }
    socket
}

/// The types of all frames until the server closes (RFC 9113 §4.1).
async fn frame_types(mut socket: TcpStream) -> Vec<u8> {
    let mut types = Vec::new();
    let mut head = [0; 9];
    while socket.read_exact(&mut head).await.is_ok() {
        types.push(head[3]);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if socket.read_exact(&mut payload).await.is_err() {
            break;
        }
        // Answers a ping, because a graceful shutdown waits for the answer.
        if head[3] == 6 {
            let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], &*payload].concat();
            let _ = socket.write_all(&answer).await;
        }
    }
    types
}

fn opening(milliseconds: u64) -> Settings {
    Settings { opening: Duration::from_millis(milliseconds), ..Settings::default() }
}

#[tokio::test]
async fn a_silent_client_is_cut_at_the_opening_deadline() {
    let edge = Edge::start(opening(300)).await;
    let socket = edge.socket().await;
    let open = until_closed(socket).await;
    assert!(open >= Duration::from_millis(250) && open < Duration::from_secs(3), "{open:?}");
    until_open(&edge.gate, 0).await;
}

#[tokio::test]
async fn half_a_preface_buys_no_more_time() {
    let edge = Edge::start(opening(300)).await;
    let mut socket = edge.socket().await;
    socket.write_all(b"PRI * HTTP/2").await.unwrap();
    assert!(until_closed(socket).await < Duration::from_secs(3));
}

#[tokio::test]
async fn a_client_that_speaks_is_not_cut() {
    let edge = Edge::start(opening(150)).await;
    let mut client = edge.client().await;
    let answer = client.call("WatchSession", "open", &[("grpc-timeout", "600m")]).await.unwrap();
    assert_eq!(answer.status().0.code(), Code::DeadlineExceeded);
    assert_eq!(edge.gate.open_connections(), 1);
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_at_once_and_the_others_go_on() {
    let edge = Edge::start(Settings { max_connections: 2, ..Settings::default() }).await;
    let mut first = edge.client().await;
    let second = edge.client().await;
    until_open(&edge.gate, 2).await;

    assert!(until_closed(edge.socket().await).await < Duration::from_secs(2));
    assert_eq!(first.call("GetSession", "known", &[]).await.unwrap().status().0.code(), Code::Ok);

    drop(second.send);
    second.connection.abort();
    until_open(&edge.gate, 1).await;
    let mut third = edge.client().await;
    assert_eq!(third.call("GetSession", "known", &[]).await.unwrap().status().0.code(), Code::Ok);
}

#[tokio::test]
async fn a_graceful_shutdown_says_goaway_and_is_not_held_by_a_silent_connection() {
    let edge = Edge::start(Settings::default()).await;
    let silent = edge.socket().await;
    let mut client = edge.client().await;
    let stream = soon(client.begin("WatchSession", "short", &[])).await.unwrap();
    let idle = raw_client(&edge).await;
    until_open(&edge.gate, 3).await;

    edge.shut_down();
    assert!(soon(frame_types(idle)).await.contains(&GOAWAY));
    // The stream that is open still gets its end.
    let (_, mut body) = stream.into_parts();
    while soon(body.data()).await.is_some() {}
    assert!(soon(body.trailers()).await.unwrap().is_some());
    soon(client.connection).await.unwrap().unwrap();
    until_closed(silent).await;
    soon(edge.served).await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_by_itself_whatever_is_open() {
    let edge = Edge::start(Settings::default()).await;
    let silent = edge.socket().await;
    let mut half = edge.socket().await;
    half.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let idle = tokio::spawn(frame_types(raw_client(&edge).await));
    let mut watcher = edge.client().await;
    let health = soon(watcher.watch_health()).await.unwrap();
    let mut caller = edge.client().await;
    let stream = soon(caller.begin("WatchSession", "open", &[("grpc-timeout", "500m")]));
    let (_, mut stream) = stream.await.unwrap().into_parts();
    until_open(&edge.gate, 5).await;

    edge.health.drain();
    edge.health.close();
    edge.shut_down();
    soon(edge.served).await.unwrap();
    assert_eq!(edge.gate.open_connections(), 0);
    // No call that had begun was cut: each stream got its end, and each connection its GOAWAY.
    while soon(stream.data()).await.is_some_and(|data| data.is_ok()) {}
    let trailers = soon(stream.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    let (_, mut health) = health.into_parts();
    while soon(health.data()).await.is_some_and(|data| data.is_ok()) {}
    assert_eq!(soon(health.trailers()).await.unwrap().unwrap()["grpc-status"], "0");
    assert!(soon(idle).await.unwrap().contains(&GOAWAY));
    assert!(until_closed(silent).await < Duration::from_secs(1));
    assert!(until_closed(half).await < Duration::from_secs(1));
}

#[tokio::test]
async fn a_dead_client_does_not_hold_a_drain() {
    let edge = Edge::start(Settings::default()).await;
    let mut dead = raw_client(&edge).await;
    // This reads the acknowledgement of the SETTINGS, so they have arrived.
    soon(dead.read_exact(&mut [0; 9])).await.unwrap();
    edge.shut_down();
    soon(edge.served).await.unwrap();
}

#[tokio::test]
async fn what_a_graceful_shutdown_cannot_end_the_gate_kills() {
    let (recorder, metrics) = recorder();
    let _guard = ::metrics::set_default_local_recorder(recorder);
    let mut edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    let stream = soon(client.begin("WatchSession", "open", &[])).await.unwrap();
    edge.shut_down();
    assert!(timeout(Duration::from_millis(200), &mut edge.served).await.is_err());

    edge.gate.kill();
    soon(edge.served).await.unwrap();
    let (_, mut body) = stream.into_parts();
    let end = soon(async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        }
    })
    .await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    assert_eq!(edge.gate.open_connections(), 0);
    // The call ends with its connection.
    let ended = "rpc_server_active_calls{rpc_method=\"gotoassist.remotesupport.v1.RemoteSupportService/WatchSession\"} 0";
    soon(async {
        while !metrics.render().contains(ended) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_old_connection_gets_goaway_and_later_is_cut() {
    let http2 = http2::Settings {
        max_streams: 10,
        max_age: Some(Duration::from_millis(400)),
        age_grace: Duration::from_millis(400),
        ..Settings::default().http2
    };
    let edge = Edge::start(Settings { http2, ..Settings::default() }).await;

    let start = Instant::now();
    let mut client = edge.client().await;
    let stream = soon(client.begin("WatchSession", "open", &[])).await.unwrap();
    // After the GOAWAY there can be no new stream, while the old one continues.
    soon(async {
        while client.call("GetSession", "known", &[]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let refused = start.elapsed();
    assert!(refused >= Duration::from_millis(350), "{refused:?}");
    assert!(refused < Duration::from_millis(750), "{refused:?}");

    let (_, mut body) = stream.into_parts();
    while let Some(Ok(_)) = soon(body.data()).await {}
    assert!(start.elapsed() >= Duration::from_millis(750), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_unix_socket_serves_and_leaves_no_file() {
    let path: PathBuf = std::env::temp_dir().join(format!("edge-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display()).parse().unwrap();
    // This is the file that a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

    let listener = Listener::bind(&address).await.unwrap();
    assert!(Listener::bind(&address).await.is_err(), "somebody serves there already");
    let edge = Edge::serve(listener, Settings::default());
    let mut client = Client::over(UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(client.call("GetSession", "known", &[]).await.unwrap().status().0.code(), Code::Ok);

    edge.shut_down();
    soon(edge.served).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn an_ipv6_wildcard_takes_ipv4_too() {
    let listener = Listener::bind(&"[::]:0".parse().unwrap()).await.unwrap();
    let port: u16 =
        listener.local_address().to_string().rsplit(':').next().unwrap().parse().unwrap();
    let _edge = Edge::serve(listener, Settings::default());
    for host in ["127.0.0.1", "::1"] {
        let mut client = Client::over(TcpStream::connect((host, port)).await.unwrap()).await;
        let answer = client.call("GetSession", "known", &[]).await.unwrap();
        assert_eq!(answer.status().0.code(), Code::Ok, "{host}");
    }
}

#[tokio::test]
async fn a_header_bomb_hurts_nobody_else() {
    let edge = Edge::start(Settings::default()).await;
    let (mut bomber, mut neighbour) = (edge.client().await, edge.client().await);
    let bomb = "x".repeat(60 * 1024);
    let answer = bomber.begin("GetSession", "known", &[("x-bomb", &bomb)]).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
    let answer = neighbour.call("GetSession", "known", &[]).await.unwrap();
    assert_eq!(answer.status().0.code(), Code::Ok);
}

#[tokio::test]
async fn a_flood_of_resets_hurts_nobody_else_and_leaves_nothing_behind() {
    let (recorder, metrics) = recorder();
    let _guard = ::metrics::set_default_local_recorder(recorder);
    let edge = Edge::start(Settings::default()).await;
    let (flooder, mut neighbour) = (edge.client().await, edge.client().await);
    for round in 0..5_000 {
        let request = http::Request::post(
            "http://localhost/gotoassist.remotesupport.v1.RemoteSupportService/WatchSession",
        );
        // The server may send a GOAWAY at some point.
        let Ok(mut send) = soon(flooder.send.clone().ready()).await else { break };
        let Ok((response, _body)) = send.send_request(request.body(()).unwrap(), true) else {
            break;
        };
        drop(response);
        if round % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let answer = neighbour.call("GetSession", "known", &[]).await.unwrap();
    assert_eq!(answer.status().0.code(), Code::Ok);
    drop(flooder.send);
    soon(async {
        let is_active =
            |line: &str| line.starts_with("rpc_server_active_calls") && !line.ends_with(" 0");
        while metrics.render().lines().any(is_active) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn streams_over_the_limit_wait_and_the_others_go_on() {
    let http2 = http2::Settings { max_streams: 2, ..Settings::default().http2 };
    let edge = Edge::start(Settings { http2, ..Settings::default() }).await;
    let mut client = edge.client().await;
    // The server's settings come with its first answer.
    client.call("GetSession", "known", &[]).await.unwrap();
    assert_eq!(client.send.current_max_send_streams(), 2);
}

#[tokio::test]
async fn a_client_that_speaks_http1_is_told_what_the_port_is_for() {
    let edge = Edge::start(Settings::default()).await;
    for head in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST /x HTTP/1.1\r\nhost: a\r\n\r\nbody"] {
        let mut socket = edge.socket().await;
        for part in head.as_bytes().chunks(3) {
            socket.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"), "{answer}");
        assert!(answer.contains("gRPC") && answer.contains("--admin-listen"), "{answer}");
    }
}

#[tokio::test]
async fn a_preface_in_pieces_is_still_a_preface() {
    let edge = Edge::start(Settings::default()).await;
    let mut socket = edge.socket().await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        socket.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut head = [0; 9];
    soon(socket.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
}
