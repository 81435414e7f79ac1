//! Servers killed by SIGKILL after every message, and the library's client, which follows many
//! sessions across the restarts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gotoassist_grpc::{
    client::{Client, ResumingWatches, WatchMany},
    config::ConnectionConfig,
    proto::{AllSessions, SessionStatus, watch_sessions_response::Body},
    simulator::SessionScript,
};

use crate::{
    kit::{process::Serve, request, soon, vendor::Vendor},
    watch::{
        crash::{QUICK, serve_at},
        ledger::{Begin, Ledger},
        world::End,
    },
};

/// The most kills. The rest of the lives is told without them.
const KILLS: usize = 15;

const HELPED: [SessionStatus; 3] =
    [SessionStatus::Waiting, SessionStatus::Active, SessionStatus::Complete];
const LEFT_ALONE: [SessionStatus; 2] = [SessionStatus::Waiting, SessionStatus::Abandoned];

#[tokio::test]
async fn a_server_may_die_after_every_message_of_many_sessions() {
    let sessions = ["a", "b"].map(request::watch).to_vec();
    survive(WatchMany { sessions, ..WatchMany::default() }, &["a", "b"]).await;
}

#[tokio::test]
async fn a_server_may_die_after_every_message_of_all_sessions() {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let from_time = Some(prost_types::Timestamp { seconds: now.try_into().unwrap(), nanos: 0 });
    let watch = WatchMany { all: Some(AllSessions { from_time }), ..WatchMany::default() };
    survive(watch, &["a", "b", "brief"]).await;
}

async fn survive(watch: WatchMany, expected: &[&str]) {
    let vendor = Vendor::start().await;
    let helped = |id, joined| {
        SessionScript::resting(id, "waiting").step(joined, "active").step(2.0 * joined, "complete")
    };
    vendor.put_session(helped("a", 2.0)).unwrap();
    vendor.put_session(SessionScript::resting("b", "waiting").step(5.0, "abandoned")).unwrap();
    let mut served = Serve::before(&vendor, &QUICK).await;
    let address = served.address();
    let mut follower = Follower::new(watch, served.url());
    let mut kills = 0;
    while follower.ended != expected.iter().map(ToString::to_string).collect() {
        follower.next().await;
        if kills < KILLS {
            served.kill().await;
            kills += 1;
            if kills == 2 {
                // It begins, and perhaps ends, while no server runs.
                vendor.put_session(helped("brief", 0.2)).unwrap();
            }
            served = serve_at(address, &vendor).await;
        }
    }
    follower.check("a", &HELPED);
    follower.check("b", &LEFT_ALONE);
    assert!(kills > 4, "{kills} kills");
}

/// Follows the sessions, and records their messages.
struct Follower {
    watches: ResumingWatches,
    ledgers: BTreeMap<String, Ledger>,
    /// The stream on which each session was told last.
    told_on: BTreeMap<String, usize>,
    stream: Arc<AtomicUsize>,
    ended: BTreeSet<String>,
}

impl Follower {
    fn new(watch: WatchMany, url: String) -> Self {
        let config =
            ConnectionConfig { server: vec![url], ..ConnectionConfig::bearer(String::new(), "t") };
        let stream = Arc::new(AtomicUsize::new(1));
        let note = stream.clone();
        let watches = Client::connect(&config).unwrap().watch_many(watch);
        let watches = watches.on_interruption(move |_| {
            note.fetch_add(1, Ordering::AcqRel);
        });
        Self {
            watches,
            ledgers: BTreeMap::new(),
            told_on: BTreeMap::new(),
            stream,
            ended: BTreeSet::new(),
        }
    }

    async fn next(&mut self) {
        let message = soon(self.watches.next()).await.expect("the watch goes on").unwrap();
        let stream = self.stream.load(Ordering::Acquire);
        let id = message.session_id;
        match message.body.unwrap() {
            Body::Heartbeat(_) => {}
            Body::Update(update) => {
                assert!(!self.ended.contains(&id), "{id} has ended: {update:?}");
                let ledger = self.ledgers.entry(id.clone()).or_default();
                let is_first = self.told_on.insert(id, stream) != Some(stream);
                let begin = if is_first { ledger.begin() } else { Begin::Under };
                ledger.enter(begin, &update).unwrap();
            }
            Body::Ended(status) => {
                assert_eq!(status.code, 0, "{id}: {status:?}");
                self.ledgers[&id].end(&End::Ok).unwrap();
                assert!(self.ended.insert(id), "it ends once");
            }
        }
    }

    /// Checks that each status came once and in order, from the first that was told.
    fn check(&self, id: &str, truth: &[SessionStatus]) {
        let truth: Vec<_> = truth.iter().map(|status| i32::from(*status)).collect();
        self.ledgers[id].check_against(&truth).unwrap();
    }
}
