//! The drain of a server with ten thousand open watches.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use gotoassist_grpc::{
    proto::{WatchSessionRequest, watch_session_response::EventType},
    simulator::SessionScript,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

use super::open_watch;
use crate::kit::{process::Serve, reason, request, soon, vendor::Vendor};

const CONNECTIONS: usize = 10;
const WATCHES: usize = 10_000;
const SESSIONS: usize = 20;
const GRACE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn drain_with_ten_thousand_streams() {
    let vendor = Vendor::start().await;
    for session in 0..SESSIONS {
        let life = SessionScript::resting(id(session), "active");
        vendor.put_session(life).unwrap();
    }
    let grace = format!("--drain-grace={}s", GRACE.as_secs());
    // The vendor is in the same process as all the watchers, so it may be slow.
    let flags = ["--drain-delay=200ms", &grace, "--upstream-timeout=1m", "--default-deadline=1m"];
    let served = Serve::before(&vendor, &flags).await;

    let open = Arc::new(Semaphore::new(0));
    let mut watchers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let channel = served.channel().await;
        for watch in 0..WATCHES / CONNECTIONS {
            watchers.spawn(until_drained(channel.clone(), id(watch % SESSIONS), open.clone()));
        }
    }
    let all = u32::try_from(WATCHES).unwrap();
    let opened = tokio::select! {
        opened = soon(open.acquire_many(all)) => opened,
        Some(failed) = watchers.join_next() => panic!("a watch ended too early: {failed:?}"),
    };
    drop(opened);

    let start = Instant::now();
    served.stop().await;
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
    let (mut delays, mut tokens) = (BTreeSet::new(), Vec::new());
    for (delay, id, token) in soon(watchers.join_all()).await {
        delays.insert(delay);
        tokens.push((id, token));
    }
    assert_eq!(tokens.len(), WATCHES);
    assert!(delays.len() > WATCHES / 10, "{} different delays", delays.len());

    // A watch that is resumed at another server gets nothing twice.
    let elsewhere = Serve::before(&vendor, &[]).await;
    let channel = elsewhere.channel().await;
    for (id, token) in tokens.into_iter().step_by(WATCHES / 100) {
        let resumed = WatchSessionRequest { resume_token: token, ..request::watch(&id) };
        let mut resumed = open_watch(&channel, resumed).await.unwrap();
        let first = soon(resumed.message()).await.unwrap().unwrap();
        assert_eq!(first.event_type(), EventType::Heartbeat);
    }
}

fn id(session: usize) -> String {
    format!("session-{session}")
}

/// Watches until the server drains. Returns the delay that the server asks for, and the last token.
async fn until_drained(
    channel: Channel,
    id: String,
    open: Arc<Semaphore>,
) -> (Duration, String, String) {
    let mut watch = open_watch(&channel, request::watch(&id)).await.unwrap();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.event_type(), EventType::Snapshot);
    open.add_permits(1);
    let mut last = first;
    let status = loop {
        match watch.message().await {
            Ok(message) => last = message.expect("no OK without a terminal message"),
            Err(status) => break status,
        }
    };
    assert_eq!(last.event_type(), EventType::Heartbeat);
    assert!(!last.resume_token.is_empty());
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "SERVER_DRAINING"),
        "{status}"
    );
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((0.5..1.5).contains(&delay.as_secs_f64()), "{delay:?}");
    (delay, id, last.resume_token)
}
