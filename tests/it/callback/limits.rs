//! What the endpoint bears: large and slow bodies, many connections, floods, and its end.

use std::{fmt::Write as _, time::Duration};

use gotoassist_grpc::callback::MAX_CONNECTIONS;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{Endpoint, PATH, SECRET, answer, code, exchange, post};
use crate::kit::soon;

const KIB: usize = 1024;

/// A JSON body of this length that names a session.
fn body_of(length: usize, session: &str) -> String {
    let start = format!(r#"{{"sessionId":"{session}","notes":""#);
    let end = r#""}"#;
    format!("{start}{}{end}", "x".repeat(length - start.len() - end.len()))
}

#[tokio::test]
async fn a_body_of_64_kib_is_read_and_a_larger_one_is_ignored() {
    let mut endpoint = Endpoint::open().await;
    for (length, session) in [(64 * KIB, "fits"), (64 * KIB + 1, "large"), (8 * KIB * KIB, "huge")]
    {
        let answer = endpoint.post(body_of(length, session)).await;
        assert_eq!(code(&answer), 204, "{length}");
    }
    assert_eq!(endpoint.hints_before("mark").await, ["fits"]);
}

#[tokio::test]
async fn a_body_in_chunks_has_the_same_limit() {
    let mut endpoint = Endpoint::open().await;
    for (chunks, is_read) in [(3, true), (9, false)] {
        let body = body_of(chunks * 8 * KIB, &chunks.to_string());
        let mut request = format!(
            "POST {PATH}{SECRET} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        for chunk in body.as_bytes().chunks(8 * KIB) {
            let chunk = std::str::from_utf8(chunk).unwrap();
            write!(request, "{:x}\r\n{chunk}\r\n", chunk.len()).unwrap();
        }
        request += "0\r\n\r\n";
        assert_eq!(code(&exchange(endpoint.address, request.as_bytes()).await), 204);
        let mark = format!("mark{chunks}");
        assert_eq!(endpoint.hints_before(&mark).await.len(), usize::from(is_read), "{chunks}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_not_waited_for_without_end() {
    let endpoint = Endpoint::open().await;
    let start = Instant::now();
    let mut silent = TcpStream::connect(endpoint.address).await.unwrap();
    let mut half = TcpStream::connect(endpoint.address).await.unwrap();
    half.write_all(format!("POST {PATH}{SECRET} HTTP/1.1\r\n").as_bytes()).await.unwrap();
    for socket in [&mut silent, &mut half] {
        let end = timeout(Duration::from_mins(10), socket.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap_or(0), 0);
    }
    assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_gets_its_204_after_a_while() {
    let mut endpoint = Endpoint::open().await;
    let start = Instant::now();
    let mut slow = TcpStream::connect(endpoint.address).await.unwrap();
    let request = post(SECRET, "", b"sessionId=1");
    slow.write_all(&request[..request.len() - 1]).await.unwrap();
    let mut head = [0; 12];
    timeout(Duration::from_mins(10), slow.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 204");
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(endpoint.hints_before("mark").await, [""; 0]);
}

#[tokio::test]
async fn half_requests_take_bounded_places_and_a_callback_always_finds_one() {
    let mut endpoint = Endpoint::open().await;
    let mut half = Vec::new();
    for _ in 0..5 * MAX_CONNECTIONS {
        let mut socket = TcpStream::connect(endpoint.address).await.unwrap();
        let request = post(SECRET, "", b"sessionId=slow");
        socket.write_all(&request[..request.len() - 1]).await.unwrap();
        half.push(socket);
    }
    assert_eq!(code(&endpoint.post("sessionId=1").await), 204);
    assert_eq!(endpoint.hint().await, "1");
    let closed = half.len() - (MAX_CONNECTIONS - 1);
    for socket in &mut half[..closed] {
        // A reset is an end as well.
        assert_eq!(soon(socket.read(&mut [0; 1])).await.unwrap_or(0), 0);
    }
    let last = half.last_mut().unwrap();
    last.write_all(b"w").await.unwrap();
    assert_eq!(code(&answer(last).await), 204);
    assert_eq!(endpoint.hint().await, "slow");
}

#[tokio::test]
async fn of_a_flood_for_one_session_the_latest_is_told_and_one_a_second() {
    let mut endpoint = Endpoint::open().await;
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(code(&endpoint.post("sessionId=1").await), 204);
    }
    let flood = start.elapsed();
    assert_eq!(endpoint.hint().await, "1", "the first is not delayed");
    let mut times = Vec::new();
    // Nothing more comes when a second has passed without a callback.
    while let Ok(hint) = timeout(Duration::from_millis(2_500), endpoint.hints.recv()).await {
        assert_eq!(hint.as_deref(), Some("1"));
        times.push(start.elapsed());
    }
    assert!(times.len() <= usize::try_from(flood.as_secs()).unwrap() + 1, "{times:?} of {flood:?}");
    assert!(times.last().is_some_and(|last| *last > flood), "the latest is not lost: {times:?}");
}

#[tokio::test]
async fn another_session_does_not_wait_for_a_flood() {
    let mut endpoint = Endpoint::open().await;
    for _ in 0..50 {
        endpoint.post("sessionId=1").await;
    }
    assert_eq!(endpoint.hint().await, "1");
    let start = Instant::now();
    endpoint.post("sessionId=2").await;
    while endpoint.hint().await != "2" {}
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn at_its_end_it_closes_the_port_at_once_and_finishes_what_is_arriving() {
    let mut endpoint = Endpoint::open().await;
    let request = post(SECRET, "", b"sessionId=1");
    let mut arriving = TcpStream::connect(endpoint.address).await.unwrap();
    let mut never = TcpStream::connect(endpoint.address).await.unwrap();
    for socket in [&mut arriving, &mut never] {
        socket.write_all(&request[..request.len() - 1]).await.unwrap();
    }
    // Both connections are accepted before this one.
    endpoint.post("sessionId=mark").await;
    assert_eq!(endpoint.hint().await, "mark");

    let start = Instant::now();
    endpoint.stop.cancel();
    let refused = async { while TcpStream::connect(endpoint.address).await.is_ok() {} };
    soon(refused).await;
    arriving.write_all(b"1").await.unwrap();
    assert_eq!(code(&answer(&mut arriving).await), 204);
    assert_eq!(endpoint.hint().await, "1");

    soon(&mut endpoint.served).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(soon(never.read(&mut [0; 1])).await.unwrap_or(0), 0, "it cannot hold the process");
}
