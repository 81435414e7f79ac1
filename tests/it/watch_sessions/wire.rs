//! A stream on the wire, between the real service and clients that misbehave.

use std::time::{Duration, Instant};

use gotoassist_grpc::{
    proto::{
        SessionStatus, WatchSessionsRequest, WatchSessionsResponse,
        watch_session_response::EventType,
    },
    simulator::SessionScript,
};
use tokio::time::sleep;
use tonic::{Code, Status};

use super::desk::{Desk, Told, add};
use crate::{
    kit::{
        peer::{Messages, Peer, USUAL_WINDOW, frame, path_of, trailers_only},
        process::Serve,
        reason, request, soon,
        vendor::Vendor,
    },
    watch::{
        ledger::{Begin, Ledger},
        world::End,
    },
};

/// Short poll intervals, so that tests need not wait.
const QUICK: [&str; 5] = [
    "--poll-not-started=100ms",
    "--poll-waiting=100ms",
    "--poll-active=100ms",
    "--upstream-rps=2000",
    "--upstream-burst=2000",
];

const CREDENTIAL: (&str, &str) = ("authorization", "Bearer t");

/// A stream as frames on the wire.
struct Stream(Messages<WatchSessionsResponse>);

impl Stream {
    /// Adds sessions, and closes the client's side.
    async fn open(peer: &Peer, ids: &[&str]) -> Self {
        let add = add(ids.iter().map(|id| request::watch(id)).collect());
        Self(Messages::of(peer.call("WatchSessions", &add, &[CREDENTIAL]).await))
    }

    async fn next(&mut self) -> Option<Told> {
        self.0.next().await.map(Told::of)
    }

    async fn end(&mut self) -> Status {
        self.0.end().await
    }
}

async fn serve(vendor: &Vendor, flags: &[&str]) -> Serve {
    Serve::before(vendor, &[&QUICK[..], flags].concat()).await
}

async fn until_no_watch(serve: &Serve) {
    soon(async {
        for gauge in ["gotoassist_watches", "gotoassist_polls"] {
            while serve.metric(gauge).await > 0.0 {
                sleep(Duration::from_millis(100)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_headers_come_at_once_and_a_refused_call_is_trailers_only() {
    let vendor = Vendor::start().await;
    let served = serve(&vendor, &["--max-session-streams=1"]).await;
    let peer = Peer::connect(served.address()).await;
    // Nothing is sent yet.
    let channel = served.channel().await;
    let mut desk = soon(Desk::connect(&channel)).await.unwrap();

    let add = add(vec![]);
    let status = peer.refusal("WatchSessions", &add, &[CREDENTIAL]).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    let status = peer.refusal("WatchSessions", &add, &[]).await;
    assert_eq!(reason(&status), "CREDENTIAL_MISSING");

    desk.close();
    assert_eq!(soon(desk.any()).await.unwrap_err().code(), Code::Ok);
}

#[tokio::test]
async fn a_message_may_have_four_megabytes_and_a_damaged_one_ends_the_stream() {
    let vendor = Vendor::start().await;
    let served = serve(&vendor, &["--max-sessions-per-stream=2"]).await;
    vendor.put_session(SessionScript::resting("s", "active")).unwrap();
    let channel = served.channel().await;

    // Ten thousand sessions with their tokens.
    let mut desk = Desk::connect(&channel).await.unwrap();
    let sessions =
        (0..10_000).map(|number| super::resumed(&format!("s{number}"), &"x".repeat(250)));
    desk.add_all(sessions.collect()).await;
    desk.add(&["s"]).await;
    for number in 0..10_000 {
        let (session, status) = desk.ended().await;
        assert_eq!(session, format!("s{number}"));
        assert_eq!(reason(&status), "RESUME_TOKEN_INVALID");
    }
    assert_eq!(desk.update().await.0, "s");

    let peer = Peer::connect(served.address()).await;
    let post = async |bytes: Vec<u8>| {
        let answer = peer.post(&path_of("WatchSessions"), bytes, &[CREDENTIAL]).await;
        let mut stream = Stream(Messages::of(answer));
        while stream.next().await.is_some() {}
        let status = stream.end().await;
        (status.code(), reason(&status))
    };
    let too_large = frame(&add(vec![super::resumed("s", &"x".repeat(5 << 20))]));
    assert_eq!(post(too_large).await, (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()));
    let malformed = (Code::Internal, "MESSAGE_MALFORMED".to_owned());
    // A message that ends too early, an `add` that does, and a session that does.
    for bytes in [&b"\x0a\x7fMARK"[..], b"\x0a\x04\x0a\x7fMA", b"\x0a\x05\x0a\x03\x0a\x7fM"] {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let framed = [&[0], &length[..], bytes].concat();
        assert_eq!(post(framed).await, malformed, "{bytes:?}");
    }
    let empty = frame(&WatchSessionsRequest::default());
    assert_eq!(post(empty).await, (Code::InvalidArgument, "ARGUMENT_INVALID".to_owned()));
    // Other methods keep their limit.
    let large = super::resumed("s", &"x".repeat(65 * 1024));
    let answer = peer.call("WatchSession", &large, &[CREDENTIAL]).await;
    assert_eq!(reason(&trailers_only(&answer)), "MESSAGE_TOO_LARGE");
}

#[tokio::test]
async fn a_drain_ends_who_reads_and_is_not_held_by_who_does_not() {
    let vendor = Vendor::start().await;
    let ids: Vec<_> = (0..60).map(|number| format!("s{number}")).collect();
    for id in &ids {
        vendor.put_session(SessionScript::resting(id, "active")).unwrap();
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let served = serve(&vendor, &["--drain-grace=3s"]).await;
    let deaf = Peer::connect_with(served.address(), 0).await;
    let _unread = Stream::open(&deaf, &ids).await;
    let channel = served.channel().await;
    // The client's side stays open.
    let mut desk = Desk::connect(&channel).await.unwrap();
    desk.add(&ids).await;
    for _ in &ids {
        desk.update().await;
    }
    let start = Instant::now();
    served.signal("-TERM").await;
    let Ok(Told::Heartbeat(heartbeat)) = desk.any().await else { panic!("a heartbeat") };
    assert_eq!(heartbeat.session_count, 60);
    let end = desk.any().await.unwrap_err();
    assert_eq!((end.code(), end.reason().as_str()), (Code::Unavailable, "SERVER_DRAINING"));
    served.ended().await;
    assert!(start.elapsed() < Duration::from_millis(3500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_nobody_else_notices() {
    let vendor = Vendor::start().await;
    let ids: Vec<_> = (0..60).map(|number| format!("s{number}")).collect();
    // Together they do not fit in the window that a connection has at first.
    let notes = "x".repeat(2_000);
    for id in &ids {
        let life = SessionScript::resting(id, "active").later(0.0, "notes", &notes);
        vendor.put_session(life).unwrap();
    }
    vendor.put_session(SessionScript::resting("shared", "active")).unwrap();
    let ids: Vec<_> = ids.iter().map(String::as_str).chain(["shared"]).collect();
    let served = serve(&vendor, &["--slow-watcher-limit=1s"]).await;
    let channel = served.channel().await;
    let mut healthy = Desk::connect(&channel).await.unwrap();
    healthy.add(&["shared"]).await;
    healthy.update().await;

    // One byte, since a stream that may send nothing at all does not even read its requests.
    let deaf = Peer::connect_with(served.address(), 1).await;
    let mut unread = Stream::open(&deaf, &ids).await;
    // Its polls begin, and end when it is cut off.
    soon(async {
        loop {
            let before = vendor.counters().of_session("s7");
            sleep(Duration::from_millis(700)).await;
            if before > 0 && vendor.counters().of_session("s7") == before {
                break;
            }
        }
    })
    .await;
    deaf.window.send(USUAL_WINDOW).unwrap();
    while let Some(told) = unread.next().await {
        assert!(matches!(told, Told::Update(..)), "{told:?}");
    }
    let status = unread.end().await;
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "SLOW_WATCHER")
    );

    healthy.close();
    vendor.put_session(SessionScript::resting("shared", "complete")).unwrap();
    let (messages, end) = healthy.rest().await;
    assert_eq!((messages.len(), end.code()), (2, Code::Ok), "complete, and the end: {messages:?}");
    until_no_watch(&served).await;
}

/// A client that does not read for a while gets the newest state of each session, with all
/// transitions.
#[tokio::test]
async fn what_a_slow_client_missed_is_merged() {
    let vendor = Vendor::start().await;
    let ids: Vec<_> = (0..200).map(|number| format!("s{number}")).collect();
    for id in &ids {
        let life = SessionScript::resting(id, "notStarted").step(1.0, "waiting");
        let life = (0..20u32)
            .fold(life, |life, note| life.later(1.0 + f64::from(note) / 10.0, "notes", note));
        vendor.put_session(life.step(2.0, "active").step(4.0, "complete")).unwrap();
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let served = serve(&vendor, &[]).await;
    let peer = Peer::connect_with(served.address(), 0).await;
    let mut stream = Stream::open(&peer, &ids).await;
    sleep(Duration::from_secs(6)).await;
    peer.window.send(USUAL_WINDOW).unwrap();

    let mut ledgers = std::collections::HashMap::<String, (Ledger, usize)>::new();
    while let Some(told) = stream.next().await {
        let (ledger, messages) = ledgers.entry(told.session().to_owned()).or_default();
        match told {
            Told::Update(_, update) => {
                *messages += 1;
                let begin = if ledger.path.is_empty() { Begin::Fresh } else { Begin::Under };
                ledger.enter(begin, &update).unwrap();
            }
            Told::Ended(_, status) => {
                assert_eq!(status.code(), Code::Ok);
                ledger.end(&End::Ok).unwrap();
            }
            Told::Heartbeat(_) => panic!("too early"),
        }
    }
    assert_eq!(stream.end().await.code(), Code::Ok);
    assert_eq!(ledgers.len(), ids.len());
    let mut most = 0;
    for (ledger, messages) in ledgers.values() {
        let from = ledger.path[0];
        let whole: Vec<_> = (from..=SessionStatus::Complete.into()).collect();
        assert_eq!(ledger.path, whole, "every status");
        most = most.max(*messages);
    }
    assert!(most <= 3, "one message in hand, one behind it, and the rest: {most}");
}

#[tokio::test]
async fn a_client_that_disconnects_leaves_nothing_behind() {
    let vendor = Vendor::start().await;
    let ids: Vec<_> = (0..60).map(|number| format!("s{number}")).collect();
    for id in &ids {
        vendor.put_session(SessionScript::resting(id, "active")).unwrap();
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let served = serve(&vendor, &[]).await;
    let mut tasks = 0.0;
    for round in 0..3 {
        let channel = served.channel().await;
        let mut desk = Desk::connect(&channel).await.unwrap();
        desk.add(&ids).await;
        let reads = if round == 1 { 10 } else { ids.len() };
        for _ in 0..reads {
            let (_, update) = desk.update().await;
            assert_eq!(update.event_type(), EventType::Snapshot);
        }
        // The call is cancelled, or the connection breaks.
        drop(desk);
        if round < 2 {
            drop(channel);
        }
        until_no_watch(&served).await;
        if round == 0 {
            // The connections to the vendor have tasks too.
            tasks = served.metric("gotoassist_tasks").await;
        }
    }
    soon(async {
        while served.metric("gotoassist_tasks").await > tasks + 20.0 {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}
