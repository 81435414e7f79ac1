//! A thousand watches and a hundred calls a second. Trouble with some clients, some sessions or the
//! connection to the vendor must not affect them.

mod clients;
mod connections;
mod dead_address;
mod gate;
mod sessions;
mod socket;

use std::{pin::pin, time::Duration};

use futures_util::future::join_all;
use gotoassist_grpc::{
    proto::{
        WatchSessionResponse, remote_support_service_client::RemoteSupportServiceClient,
        watch_session_response::EventType,
    },
    simulator::SessionScript,
};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tonic::{Streaming, transport::Channel};

use super::{LIMIT, Serve, session, soon, watch};
use crate::kit::{request::authorized, vendor::Vendor};

const SESSIONS: usize = 20;
const WATCHES: usize = 1_000;
const CONNECTIONS: usize = 4;

/// 100 calls a second.
const PACE: Duration = Duration::from_millis(10);
/// The least number of calls during a kind of trouble.
const CALLS: usize = 500;

/// The limit for the 95th percentile of the calls. A call takes milliseconds, but other tests may
/// keep the machine busy. A call that the trouble affects takes longer than this.
const P95: Duration = Duration::from_secs(10);

type Client = RemoteSupportServiceClient<Channel>;
type Messages = Streaming<WatchSessionResponse>;

/// Well-behaved clients, which must not notice the trouble.
struct Load {
    watches: JoinSet<Result<(), String>>,
    caller: Client,
}

impl Load {
    /// The service in front of `url`, with a quota and poll intervals for this load.
    async fn serve(url: &str, more: &[&str]) -> Serve {
        Serve::start(&Self::flags(url, more)).await
    }

    fn flags<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let quick = ["--upstream-rps=5000", "--upstream-burst=5000", "--poll-active=1s"];
        [&["--upstream-url", url][..], &quick, more].concat()
    }

    /// Opens the watches, and waits for the first message of each.
    async fn start(vendor: &Vendor, serve: &Serve) -> Self {
        put_sessions(vendor, "active");
        let mut load = Self { watches: JoinSet::new(), caller: serve.client().await };
        for _ in 0..CONNECTIONS {
            load.watch(&serve.client().await, WATCHES / CONNECTIONS).await;
        }
        load
    }

    /// Opens more watches, on the connection of `client`.
    async fn watch(&mut self, client: &Client, count: usize) {
        let open = (0..count).map(|number| open_watch(client, id(number), "watcher"));
        for messages in soon(join_all(open)).await {
            self.watches.spawn(until_end(messages));
        }
    }

    /// Runs `trouble` to its end, and makes calls at the same time. All calls must succeed in time,
    /// and no watch may end.
    async fn is_undisturbed_by<T>(&mut self, trouble: impl Future<Output = T>) -> T {
        let mut trouble = pin!(timeout(2 * LIMIT, trouble));
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut calls, mut outcome) = (JoinSet::new(), None);
        while outcome.is_none() || calls.len() < CALLS {
            tokio::select! {
                ended = &mut trouble, if outcome.is_none() => outcome = Some(ended),
                _ = pace.tick() => {
                    calls.spawn(call(self.caller.clone(), id(calls.len())));
                }
            }
        }
        let mut times = all_well(calls.join_all().await);
        times.sort_unstable();
        let p95 = times[times.len() * 95 / 100];
        assert!(p95 < P95, "{p95:?}");
        if let Some(ended) = self.watches.try_join_next() {
            panic!("a watch noticed: {ended:?}");
        }
        outcome.unwrap().expect("the trouble ends")
    }

    /// Checks that every watch receives the end of its session.
    async fn end(self, vendor: &Vendor) {
        put_sessions(vendor, "complete");
        all_well(soon(self.watches.join_all()).await);
    }
}

fn id(number: usize) -> String {
    format!("session-{}", number % SESSIONS)
}

fn put_sessions(vendor: &Vendor, status: &str) {
    for number in 0..SESSIONS {
        vendor.put_session(SessionScript::resting(id(number), status)).unwrap();
    }
}

/// Opens a watch, and waits for its first message.
async fn open_watch(client: &Client, id: String, token: &str) -> Messages {
    let request = authorized(token, watch(&id));
    let messages = client.clone().watch_session(request).await;
    let mut messages = messages.unwrap().into_inner();
    messages.message().await.unwrap().unwrap();
    messages
}

/// The results of many futures. All failures are in one report.
fn all_well<T>(results: Vec<Result<T, String>>) -> Vec<T> {
    let count = results.len();
    let mut failures = results.iter().filter_map(|result| result.as_ref().err());
    if let Some(first) = failures.next() {
        panic!("{} of {count} failed: {first}", 1 + failures.count());
    }
    results.into_iter().flatten().collect()
}

/// Returns `Ok` if the watch received the end of the session and no sign of trouble before it.
async fn until_end(mut messages: Messages) -> Result<(), String> {
    let mut is_terminal = false;
    loop {
        match messages.message().await {
            Ok(Some(message)) if message.event_type() == EventType::Stale => {
                return Err(format!("its session is as well as ever: {message:?}"));
            }
            Ok(Some(message)) => is_terminal = message.terminal,
            // OK if and only if the last message was terminal.
            Ok(None) if is_terminal => return Ok(()),
            end => return Err(format!("it ended: {end:?}")),
        }
    }
}

/// The duration of a call, which must succeed.
async fn call(mut client: Client, id: String) -> Result<Duration, String> {
    let start = Instant::now();
    let call = client.get_session(authorized("caller", session(&id)));
    match timeout(LIMIT, call).await {
        Ok(Ok(_)) => Ok(start.elapsed()),
        other => Err(format!("{other:?}")),
    }
}
