//! A watch on the wire, between the real service and a raw HTTP/2 peer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gotoassist_grpc::{
    proto::{WatchSessionResponse, watch_session_response::EventType},
    simulator::SessionScript,
};
use tokio::time::sleep;
use tonic::{Code, Status};

use super::open_watch;
use crate::kit::{
    peer::{Messages, Peer, USUAL_WINDOW},
    process::Serve,
    reason, request, soon,
    vendor::Vendor,
};

/// Short poll intervals, so that tests need not wait.
const QUICK: [&str; 5] = [
    "--poll-not-started=100ms",
    "--poll-waiting=100ms",
    "--poll-active=100ms",
    "--upstream-rps=1000",
    "--drain-delay=0s",
];

#[tokio::test]
async fn the_deadline_ends_a_watch_on_time_with_a_heartbeat_before() {
    let vendor = Vendor::start().await;
    vendor.put_session(SessionScript::resting("s", "active")).unwrap();
    let served = Serve::before(&vendor, &[]).await;
    let peer = connect(&served, USUAL_WINDOW).await;
    let deadline = Duration::from_millis(1500);
    let start = Instant::now();
    let mut watch = watch(&peer, "s", &[("grpc-timeout", "1500m")]).await;
    assert_eq!(watch.next().await.unwrap().event_type(), EventType::Snapshot);
    let last = watch.next().await.unwrap();
    assert_eq!(last.event_type(), EventType::Heartbeat);
    assert!(!last.resume_token.is_empty());
    let warned = start.elapsed();
    assert!(warned > deadline / 2 && warned < deadline, "{warned:?}");
    assert!(watch.next().await.is_none());
    let status = watch.end().await;
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    let ended = start.elapsed();
    assert!(ended >= deadline && ended < deadline + Duration::from_millis(500), "{ended:?}");
}

#[tokio::test]
async fn a_watch_that_cannot_start_is_trailers_only() {
    let vendor = Vendor::start().await;
    let served = Serve::before(&vendor, &[]).await;
    let peer = connect(&served, USUAL_WINDOW).await;
    let answer = peer
        .call("WatchSession", &request::watch("nobody"), &[("authorization", "Bearer t")])
        .await;
    assert!(answer.body().is_end_stream(), "the headers end the stream");
    let status = Status::from_header_map(answer.headers()).expect("the headers hold the status");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
    let answer = peer.call("WatchSession", &request::watch("nobody"), &[]).await;
    assert!(answer.body().is_end_stream());
    assert_eq!(answer.headers()["grpc-status"], "16");
}

#[tokio::test]
async fn a_watch_outlives_the_rotation_of_its_connection_and_rotations_spread() {
    let vendor = Vendor::start().await;
    let life = SessionScript::resting("s", "waiting").step(2.5, "active").step(3.0, "complete");
    let flags = [&QUICK[..], &["--max-connection-age=1s"]].concat();
    let served = Serve::before(&vendor, &flags).await;
    vendor.put_session(life).unwrap();
    let peer = connect(&served, USUAL_WINDOW).await;
    let mut watch = watch(&peer, "s", &[]).await;
    watch.next().await.unwrap();

    let closings = (0..30).map(async |_| {
        let peer = connect(&served, USUAL_WINDOW).await;
        let start = Instant::now();
        let _ = soon(peer.connection).await.unwrap();
        start.elapsed().as_secs_f64()
    });
    let mut ages = join_all(closings).await;
    ages.sort_by(f64::total_cmp);
    assert!(ages[0] > 0.85, "{ages:?}");
    assert!(ages[29] - ages[0] > 0.05, "{ages:?}");

    assert!(is_going_away(&peer).await, "GOAWAY came on the watch's connection too");
    let mut passed = Vec::new();
    while let Some(message) = watch.next().await {
        passed.extend(message.transitions.iter().map(|step| step.to_status));
        if message.terminal {
            assert_eq!(passed, [3, 4], "active, complete");
        }
    }
    assert_eq!(watch.end().await.code(), Code::Ok);
}

#[tokio::test]
async fn a_drain_ends_whoever_reads_and_is_not_held_by_who_does_not() {
    let vendor = Vendor::start().await;
    vendor.put_session(SessionScript::resting("s", "active")).unwrap();
    let flags = [&QUICK[..], &["--drain-grace=2s"]].concat();
    let served = Serve::before(&vendor, &flags).await;
    let deaf = connect(&served, 0).await;
    let _unread = watch(&deaf, "s", &[]).await;
    let peer = connect(&served, USUAL_WINDOW).await;
    let mut watch = watch(&peer, "s", &[]).await;
    watch.next().await.unwrap();

    let start = Instant::now();
    served.signal("-TERM").await;
    let last = watch.next().await.unwrap();
    assert_eq!(last.event_type(), EventType::Heartbeat);
    assert!(watch.next().await.is_none());
    let status = watch.end().await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SERVER_DRAINING"));
    served.ended().await;
    assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
}

/// The peer reads nothing, or only the beginning of its first message.
#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_nobody_else_notices() {
    let vendor = Vendor::start().await;
    let flags = [&QUICK[..], &["--slow-watcher-limit=1s"]].concat();
    let served = Serve::before(&vendor, &flags).await;
    // The HTTP/2 layer holds one message while another waits for the peer's window.
    for (window, under_way) in [(0, 1), (64, 2)] {
        // The service remembers finished sessions.
        let [alone, shared] = ["alone", "shared"].map(|name| format!("{name}-{window}"));
        let life = |id: &str| {
            [1.0, 1.5, 2.0]
                .iter()
                .fold(SessionScript::resting(id, "active"), |life, at| life.later(*at, "notes", at))
        };
        vendor.put_session(life(&alone)).unwrap();
        vendor.put_session(life(&shared).step(6.0, "complete")).unwrap();
        let healthy = served.channel().await;
        let healthy = open_watch(&healthy, request::watch(&shared)).await.unwrap();
        let healthy = tokio::spawn(all(healthy));
        let deaf = connect(&served, window).await;
        let mut watches = [watch(&deaf, &alone, &[]).await, watch(&deaf, &shared, &[]).await];

        // Nobody else watches this session, so its poll ends with the watcher.
        let begun = vendor.counters().of_session(&alone);
        soon(async {
            loop {
                let before = vendor.counters().of_session(&alone);
                sleep(Duration::from_millis(700)).await;
                if vendor.counters().of_session(&alone) == before {
                    break;
                }
            }
        })
        .await;
        assert!(vendor.counters().of_session(&alone) > begun + 5, "it was polled until then");

        deaf.window.send(USUAL_WINDOW).unwrap();
        for watch in &mut watches {
            let mut messages = 0;
            while watch.next().await.is_some() {
                messages += 1;
            }
            assert_eq!(messages, under_way);
            let status = watch.end().await;
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::ResourceExhausted, "SLOW_WATCHER")
            );
        }
        let (messages, end) = soon(healthy).await.unwrap();
        assert_eq!((messages, end.code()), (5, Code::Ok), "snapshot, three notes, complete");
    }
}

/// The number of messages of a watch without heartbeats, and its end.
async fn all(mut watch: tonic::Streaming<WatchSessionResponse>) -> (usize, Status) {
    let mut messages = 0;
    loop {
        match watch.message().await {
            Ok(Some(message)) => {
                messages += usize::from(message.event_type() != EventType::Heartbeat);
            }
            Ok(None) => return (messages, Status::ok("")),
            Err(status) => return (messages, status),
        }
    }
}

async fn connect(served: &Serve, window: u32) -> Peer {
    Peer::connect_with(served.address(), window).await
}

/// A watch as frames on the wire.
async fn watch(peer: &Peer, id: &str, headers: &[(&str, &str)]) -> Messages<WatchSessionResponse> {
    let headers = [&[("authorization", "Bearer t")], headers].concat();
    Messages::of(peer.call("WatchSession", &request::watch(id), &headers).await)
}

/// Whether the service has stopped accepting calls on this connection.
async fn is_going_away(peer: &Peer) -> bool {
    soon(peer.send.clone().ready()).await.is_err()
}
