//! A desk that watches many sessions over real sockets, with the quotas of the service and of the
//! vendor as they are in production. The vendor's list makes news come within seconds.
//!
//! `GOTOASSIST_TEST_DESK=full cargo test --release --test it a_desk -- --nocapture` runs the full
//! test: 2,000 sessions for two minutes, after the five minutes that 2,000 first answers take.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use gotoassist_grpc::{model::Status, proto::WatchSessionResponse, simulator::SessionScript};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tonic::{Streaming, transport::Channel};

use super::{
    ledger::{Begin, Ledger},
    open_watch,
    world::End,
};
use crate::kit::{process::Serve, request, vendor::Vendor};

/// First answers a second. The quota is 8, and the list needs a little of it.
const FIRST_ANSWERS: f64 = 7.0;

/// The service allows 1,000 calls at once on one connection, and further ones wait.
const WATCHES_PER_CONNECTION: u32 = 500;

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "how long a test runs is not configuration")]
async fn a_desk_hears_of_changes_within_seconds_and_the_vendor_never_refuses() {
    let is_full = std::env::var("GOTOASSIST_TEST_DESK").is_ok_and(|size| size == "full");
    // 2,000 sessions of a help desk change about three times a second.
    let (sessions, span, share) = if is_full { (2_000, 120.0, 0.1) } else { (60, 12.0, 1.0) };
    let vendor = Vendor::start().await;
    vendor.change_settings(|settings| settings.rate_limit = 10);
    let served = Serve::before(&vendor, &[]).await;

    let ramp = f64::from(sessions) / FIRST_ANSWERS + 8.0;
    let mut rng = Rng::with_seed(16);
    let delays: Arc<Mutex<Vec<f64>>> = Arc::default();
    let opening = Arc::new(Semaphore::new(32));
    let mut channel = served.channel().await;
    let mut watches = JoinSet::new();
    for number in 0..sessions {
        if number % WATCHES_PER_CONNECTION == 0 {
            channel = served.channel().await;
        }
        let mut script = SessionScript::new((500_000 + number).to_string()).step(-10.0, "waiting");
        if rng.f64() < share {
            script = live(script, &mut rng, ramp, span);
        }
        vendor.put_session(script.clone()).unwrap();
        let watch = Watch {
            script,
            since: Instant::now(),
            leaves_at: Instant::now() + Duration::from_secs_f64(ramp + span + 20.0),
            channel: channel.clone(),
            opening: opening.clone(),
            delays: delays.clone(),
        };
        watches.spawn(watch.follow());
    }
    let limit = Duration::from_secs_f64(ramp + span + 60.0);
    let all = async {
        while let Some(watch) = watches.join_next().await {
            watch.unwrap().unwrap_or_else(|fault| panic!("{fault}"));
        }
    };
    timeout(limit, all).await.expect("every watch comes to its end");

    let mut delays = std::mem::take(&mut *delays.lock().unwrap());
    delays.sort_by(f64::total_cmp);
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    let counters = vendor.counters();
    println!(
        "{sessions} sessions, {span} s: {} changes, median {:.1} s, p95 {:.1} s, longest {:.1} s; \
         {} requests, {} of them for the list, at most {} a second",
        delays.len(),
        at(50),
        at(95),
        at(100),
        counters.requests,
        counters.list_requests,
        counters.max_per_second
    );
    assert_eq!(counters.by_status.get(&429), None, "{:?}", counters.by_status);
    assert!(counters.list_requests > 0, "the list was never read");
    assert!(at(50) <= 3.0 && at(95) <= 8.0, "median {}, p95 {}", at(50), at(95));
}

/// Lets the session become active and complete, or abandoned, after the watches have begun.
fn live(script: SessionScript, rng: &mut Rng, ramp: f64, span: f64) -> SessionScript {
    let first = ramp + rng.f64() * span;
    if rng.u8(0..5) == 0 {
        return script.step(first, "abandoned");
    }
    script.step(first, "active").step(first + rng.f64() * (ramp + span - first), "complete")
}

/// One watcher. It stays until the session is over, or to the end if the session never changes.
struct Watch {
    script: SessionScript,
    since: Instant,
    leaves_at: Instant,
    channel: Channel,
    opening: Arc<Semaphore>,
    delays: Arc<Mutex<Vec<f64>>>,
}

impl Watch {
    async fn follow(self) -> Result<(), String> {
        let id = &self.script.id;
        let mut messages = self.open().await?;
        let mut ledger = Ledger::default();
        let mut begin = Begin::Fresh;
        let told = |fault| format!("{id}: {fault}");
        let never_changes = self.script.steps.len() == 1;
        let end = loop {
            let message = match timeout_at(self.leaves_at, messages.message()).await {
                Ok(message) => message,
                Err(_) if never_changes => {
                    return ledger.check_against(&self.truth()).map_err(told);
                }
                Err(_) => return Err(format!("{id}: no end was told")),
            };
            match message {
                Ok(Some(message)) => {
                    ledger.enter(begin, &message).map_err(told)?;
                    if begin == Begin::Under {
                        self.measure(&message);
                    }
                    begin = Begin::Under;
                }
                Ok(None) => break End::Ok,
                Err(status) => break End::Error(status),
            }
        };
        ledger.end(&end).map_err(told)?;
        if !ledger.is_over {
            return Err(format!("{id}: the watch ended with {end:?}"));
        }
        ledger.check_against(&self.truth()).map_err(told)
    }

    /// The statuses of the session.
    fn truth(&self) -> Vec<i32> {
        let statuses = self.script.steps.iter().filter_map(|step| step.status.as_deref());
        statuses.map(|status| Status::named(status) as i32).collect()
    }

    async fn open(&self) -> Result<Streaming<WatchSessionResponse>, String> {
        let _permit = self.opening.acquire().await.map_err(|closed| closed.to_string())?;
        let opened = open_watch(&self.channel, request::watch(&self.script.id)).await;
        opened.map_err(|status| format!("{}: cannot start: {status:?}", self.script.id))
    }

    /// Notes how long ago each change was.
    fn measure(&self, message: &WatchSessionResponse) {
        let now = self.since.elapsed().as_secs_f64();
        for transition in &message.transitions {
            let is_it = |status: &str| Status::named(status) as i32 == transition.to_status;
            let steps = &self.script.steps;
            let step = steps.iter().find(|step| step.status.as_deref().is_some_and(is_it));
            if let Some(step) = step {
                self.delays.lock().unwrap().push(now - step.at);
            }
        }
    }
}
