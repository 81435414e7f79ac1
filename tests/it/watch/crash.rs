//! Servers killed by SIGKILL, and the library's client, which follows a session across the
//! restarts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gotoassist_grpc::{
    client::{Client, ResumingWatch},
    config::ConnectionConfig,
    proto::{SessionStatus, WatchSessionResponse},
    simulator::{Control, SessionScript},
};
use tokio::time::sleep;

use super::{
    ledger::{Begin, Ledger},
    world::End,
};
use crate::kit::{process::Serve, request, soon, vendor::Vendor};

/// Short poll intervals, so that tests need not wait.
pub const QUICK: [&str; 4] = [
    "--poll-not-started=200ms",
    "--poll-waiting=200ms",
    "--poll-active=200ms",
    "--upstream-rps=100",
];

const WHOLE_LIFE: [SessionStatus; 4] = [
    SessionStatus::NotStarted,
    SessionStatus::Waiting,
    SessionStatus::Active,
    SessionStatus::Complete,
];

#[tokio::test]
async fn a_watch_goes_on_elsewhere_when_its_server_is_killed() {
    let vendor = Vendor::start().await;
    let first = Serve::before(&vendor, &QUICK).await;
    // Starts and kills the second server, to learn an address at which it can start later.
    let second = Serve::before(&vendor, &QUICK).await;
    let (address, urls) = (second.address(), vec![first.url(), second.url()]);
    second.kill().await;

    vendor.put_session(SessionScript::walking("s", 1.5)).unwrap();
    let mut follower = Follower::new(urls);
    follower.until(SessionStatus::Waiting).await;
    first.kill().await;
    // The customer joins while no server runs.
    until_status(&vendor, "active").await;
    let _second = serve_at(address, &vendor).await;
    follower.until_over().await;
    follower.check();
}

#[tokio::test]
async fn a_server_may_die_after_every_message_and_come_back_at_its_address() {
    let vendor = Vendor::start().await;
    let mut served = Serve::before(&vendor, &QUICK).await;
    let address = served.address();
    let life = SessionScript::walking("s", 2.0).later(3.0, "notes", "some");
    vendor.put_session(life).unwrap();
    let mut follower = Follower::new(vec![served.url()]);
    while let Some(message) = follower.next().await {
        if message.terminal {
            break;
        }
        served.kill().await;
        served = serve_at(address, &vendor).await;
    }
    follower.until_over().await;
    follower.check();
    assert!(follower.streams > 3, "{} streams", follower.streams);
}

/// A service at the address of an earlier one.
pub async fn serve_at(address: SocketAddr, vendor: &Vendor) -> Serve {
    let listen = format!("--listen={address}");
    Serve::before(vendor, &[&QUICK[..], &[&listen]].concat()).await
}

async fn until_status(vendor: &Control, expected: &str) {
    let is_there = || {
        let statuses = vendor.statuses();
        statuses.iter().any(|(id, status)| id == "s" && status.as_deref() == Some(expected))
    };
    soon(async {
        while !is_there() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Follows the session `s` with the library's client, and records its messages.
struct Follower {
    watch: ResumingWatch,
    ledger: Ledger,
    is_interrupted: Arc<AtomicBool>,
    streams: usize,
}

impl Follower {
    fn new(urls: Vec<String>) -> Self {
        let config =
            ConnectionConfig { server: urls, ..ConnectionConfig::bearer(String::new(), "t") };
        let is_interrupted = Arc::new(AtomicBool::new(false));
        let note = is_interrupted.clone();
        let watch = Client::connect(&config).unwrap().watch(request::watch("s"));
        let watch = watch.on_interruption(move |_| note.store(true, Ordering::Release));
        Self { watch, ledger: Ledger::default(), is_interrupted, streams: 1 }
    }

    async fn next(&mut self) -> Option<WatchSessionResponse> {
        let message = soon(self.watch.next()).await?.unwrap();
        let is_first = self.ledger.resume_token.is_empty();
        let begin = if self.is_interrupted.swap(false, Ordering::AcqRel) {
            self.streams += 1;
            self.ledger.begin()
        } else if is_first {
            Begin::Fresh
        } else {
            Begin::Under
        };
        self.ledger.enter(begin, &message).unwrap();
        Some(message)
    }

    /// Waits until the session has this status.
    async fn until(&mut self, status: SessionStatus) {
        while self.ledger.path.last() != Some(&i32::from(status)) {
            self.next().await.expect("the session goes on");
        }
    }

    async fn until_over(&mut self) {
        while self.next().await.is_some() {}
        self.ledger.end(&End::Ok).unwrap();
    }

    /// Checks that each status comes once and in order, after the first one.
    fn check(&self) {
        let truth: Vec<_> = WHOLE_LIFE.iter().map(|status| i32::from(*status)).collect();
        self.ledger.check_against(&truth).unwrap();
        assert_eq!(self.ledger.path, truth);
    }
}
