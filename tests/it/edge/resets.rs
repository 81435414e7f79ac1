//! Calls that their client resets. A client may reset many at once, but not without end.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use super::{
    Edge, Settings,
    accept::raw_client,
    call::{cut_connections, recorder},
    soon,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The HEADERS frame of a call. Each field is literal and not indexed (RFC 7541 §6.2.2).
fn headers(stream: u32, method: &str) -> Vec<u8> {
    let path = format!("/gotoassist.remotesupport.v1.RemoteSupportService/{method}");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let field = |(name, value)| [vec![0], text(name), text(value)].concat();
    frame(HEADERS, END_HEADERS, stream, &fields.map(field).concat())
}

/// A whole request about `session_id`, which is field 1 of each request message.
fn request(stream: u32, method: &str, session_id: &str) -> Vec<u8> {
    let length = u8::try_from(session_id.len()).unwrap();
    let message = [&[0, 0, 0, 0, length + 2, 10, length], session_id.as_bytes()].concat();
    [headers(stream, method), frame(DATA, END_STREAM, stream, &message)].concat()
}

/// Calls from stream `first` on, each of which is reset at once.
fn reset_calls(first: u32, count: u32) -> Vec<u8> {
    let streams = (0..count).map(|number| first + 2 * number);
    let call = |stream| [headers(stream, "GetSession"), frame(RST_STREAM, 0, stream, &CANCEL)];
    streams.flat_map(call).flatten().collect()
}

/// The next frame: its kind, flags and stream. `None` after the connection is closed.
async fn next(socket: &mut TcpStream) -> Option<(u8, u8, u32)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    socket.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.ok()?;
    Some((head[3], head[4], u32::from_be_bytes(head[5..].try_into().unwrap())))
}

/// All frames until the server has read what was sent before. `None` if the server has closed the
/// connection.
async fn seen(socket: &mut TcpStream) -> Option<Vec<(u8, u8, u32)>> {
    socket.write_all(&frame(PING, 0, 0, &[7; 8])).await.ok()?;
    let mut frames = Vec::new();
    loop {
        match soon(next(socket)).await? {
            (PING, ACK, _) => return Some(frames),
            frame => frames.push(frame),
        }
    }
}

#[tokio::test]
async fn all_calls_of_a_connection_may_be_cancelled_at_once_and_its_watches_live_on() {
    let edge = Edge::start(Settings::default()).await;
    let mut socket = raw_client(&edge).await;
    socket.write_all(&request(1, "WatchSession", "open")).await.unwrap();
    while soon(next(&mut socket)).await.unwrap() != (DATA, 0, 1) {}

    // 1,000 calls are allowed at once, and the watch is one of them. So this resets 999, twice.
    for first in [3, 3 + 2 * 999] {
        socket.write_all(&reset_calls(first, 999)).await.unwrap();
        let frames = seen(&mut socket).await.expect("the connection is open");
        let ends = |(kind, _, stream): &(u8, u8, u32)| {
            *kind == GOAWAY || (*kind == RST_STREAM && *stream == 1)
        };
        assert!(!frames.iter().any(ends), "{frames:?}");
    }
    socket.write_all(&request(9001, "GetSession", "known")).await.unwrap();
    while soon(next(&mut socket)).await.unwrap() != (HEADERS, END_HEADERS | END_STREAM, 9001) {}
}

#[tokio::test]
async fn resets_without_end_cost_the_connection_and_nobody_else() {
    let (recorder, metrics) = recorder();
    let _guard = ::metrics::set_default_local_recorder(recorder);
    let edge = Edge::start(Settings::default()).await;
    let (mut neighbour, mut flooder) = (edge.client().await, raw_client(&edge).await);
    let mut calls = 0;
    while seen(&mut flooder).await.is_some() {
        let first = 1 + 2 * calls;
        calls += 500;
        assert!(calls < 100_000, "the connection is still open");
        // The server may have closed the connection by now. Then the next `seen` returns `None`.
        let _ = flooder.write_all(&reset_calls(first, 500)).await;
    }
    assert!(calls > 2_000, "{calls}");
    assert_eq!(cut_connections(&metrics.render(), "resets"), 1);
    let answer = neighbour.call("GetSession", "known", &[]).await.unwrap();
    assert_eq!(answer.status().0.code(), Code::Ok);
    assert_eq!(edge.gate.open_connections(), 1);
}
