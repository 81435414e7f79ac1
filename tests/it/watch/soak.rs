//! Many watchers over real sockets, with a vendor that fails in every way. Each watcher gets a true
//! history, and no resources remain at the end.
//!
//! `GOTOASSIST_TEST_SOAK=full cargo test --release --test it a_soak -- --nocapture` runs the full
//! test.

mod desk;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use gotoassist_grpc::{
    model::Status,
    proto::{WatchSessionRequest, WatchSessionResponse},
    simulator::{Control, Fault, RetryAfter, Rule, SessionScript},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tonic::{Streaming, transport::Channel};

use super::{
    ledger::{Begin, Ledger},
    open_watch,
    random::is_temporary,
    world::End,
};
use crate::kit::{process::Serve, request, soon, vendor::Vendor};

/// The size of the test.
struct Size {
    watchers: usize,
    /// How many clients follow all sessions on one stream each.
    desks: usize,
    sessions: usize,
    connections: usize,
    /// The time in which the sessions change, and the watchers come and go.
    span: Duration,
    flags: &'static [&'static str],
    /// The warm-up with the same number of watchers. It shows how much memory the allocator keeps.
    warm_up: Duration,
    /// How much more memory may be in use or kept by the allocator after the test than before.
    growth: f64,
    /// How long idle connections to the vendor may stay open, and how many tasks the service may
    /// still have after that.
    rest: Duration,
    idle_tasks: f64,
}

const REDUCED: Size = Size {
    watchers: 500,
    desks: 3,
    sessions: 50,
    connections: 4,
    span: Duration::from_secs(6),
    flags: &[
        "--poll-not-started=1s",
        "--poll-waiting=500ms",
        "--poll-active=500ms",
        "--poll-ended=1s",
    ],
    warm_up: Duration::ZERO,
    growth: 2.5,
    rest: Duration::from_secs(3),
    idle_tasks: 50.0,
};

const FULL: Size = Size {
    watchers: 10_000,
    desks: 10,
    sessions: 1_000,
    connections: 12,
    span: Duration::from_mins(2),
    flags: &[],
    warm_up: Duration::from_secs(20),
    growth: 1.2,
    rest: Duration::from_secs(50),
    idle_tasks: 0.0,
};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "how long a test runs is not configuration")]
async fn a_soak_leaves_true_histories_and_nothing_else() {
    let is_full = std::env::var("GOTOASSIST_TEST_SOAK").is_ok_and(|size| size == "full");
    let size = if is_full { FULL } else { REDUCED };
    let vendor = Vendor::start().await;
    let common = ["--upstream-rps=2000", "--upstream-burst=200", "--upstream-timeout=2s"];
    let served = Serve::before(&vendor, &[&common, size.flags].concat()).await;
    if !size.warm_up.is_zero() {
        soak("warm-up", &Size { span: size.warm_up, ..size }, &vendor, &served).await;
    }
    let before = Footprint::of(&served, size.rest).await;
    soak("soak", &size, &vendor, &served).await;
    let after = Footprint::of(&served, size.rest).await;
    println!("before {before:?}, after {after:?}");
    assert!(after.tasks <= before.tasks + size.idle_tasks, "{before:?} {after:?}");
    assert!(after.memory <= size.growth * before.memory, "{before:?} {after:?}");
}

/// The resources of an idle service.
#[derive(Debug)]
struct Footprint {
    tasks: f64,
    /// In bytes.
    memory: f64,
}

impl Footprint {
    async fn of(served: &Serve, rest: Duration) -> Self {
        // The gauges follow every two seconds.
        soon(async {
            for gauge in ["gotoassist_connections", "gotoassist_watches", "gotoassist_polls"] {
                while served.metric(gauge).await > 0.0 {
                    sleep(Duration::from_millis(100)).await;
                }
            }
        })
        .await;
        sleep(rest).await;
        Self {
            tasks: served.metric("gotoassist_tasks").await,
            memory: served.metric("process_resident_memory_bytes").await,
        }
    }
}

#[derive(Default)]
struct CallStats {
    messages: AtomicUsize,
    streams: AtomicUsize,
    transitions: AtomicUsize,
}

async fn soak(name: &str, size: &Size, vendor: &Vendor, served: &Serve) {
    let start = Instant::now();
    let mut rng = Rng::with_seed(4);
    vendor.clear_faults();
    vendor.reset_counters();
    let truths: Vec<_> = (0..size.sessions)
        .map(|session| {
            let (script, truth) = life(&mut rng, id(name, session), size.span);
            slips(&mut rng, vendor, &script.id);
            vendor.put_session(script).unwrap();
            truth
        })
        .collect();
    troubles(vendor);

    let call_stats = Arc::new(CallStats::default());
    let mut watchers = JoinSet::new();
    let calm_at = Instant::now() + size.span.mul_f64(0.7);
    let mut channels = Vec::new();
    for _ in 0..size.connections {
        channels.push(served.channel().await);
    }
    for watcher in 0..size.watchers {
        let session = watcher % size.sessions;
        let watcher = Watcher {
            rng: rng.fork(),
            channel: channels[watcher % channels.len()].clone(),
            id: id(name, session),
            truth: truths[session].clone(),
            calm_at,
            span: size.span,
            call_stats: call_stats.clone(),
        };
        watchers.spawn(watcher.watch());
    }
    for desk in 0..size.desks {
        let sessions = truths.iter().enumerate();
        let sessions = sessions.map(|(session, truth)| (id(name, session), truth.clone()));
        let channel = channels[desk % channels.len()].clone();
        let follower = desk::follower(rng.fork(), sessions.collect(), calm_at, size.span);
        watchers.spawn(desk::follow(follower, channel, call_stats.clone()));
    }
    drop(channels);
    let limit = size.span + Duration::from_secs(90);
    let mut peak: f64 = 0.0;
    let all = async {
        loop {
            tokio::select! {
                watcher = watchers.join_next() => match watcher {
                    Some(told) => told.unwrap().unwrap_or_else(|fault| panic!("{fault}")),
                    None => return,
                },
                () = sleep(Duration::from_secs(2)) => {
                    peak = peak.max(served.metric("process_resident_memory_bytes").await);
                }
            }
        }
    };
    timeout(limit, all).await.expect("every watch comes to its end");
    peak = peak.max(served.metric("process_resident_memory_bytes").await);
    let counters = vendor.counters();
    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{name}, {:.0?}: {} watchers on {} sessions, and {} clients of all: {} streams, {} messages, {} status changes \
         told; {} requests to the vendor, {} of them failed on purpose; at most {:.0} MB, {:.0} s \
         of processor time",
        start.elapsed(),
        size.watchers,
        size.sessions,
        size.desks,
        of(&call_stats.streams),
        of(&call_stats.messages),
        of(&call_stats.transitions),
        counters.requests,
        counters.faults,
        peak / 1e6,
        served.metric("process_cpu_seconds_total").await,
    );
}

/// The service may still remember a finished session, so each round has its own sessions.
fn id(round: &str, session: usize) -> String {
    format!("{round}-{session}")
}

/// A random life that starts in any status and ends within the span, and its statuses.
fn life(rng: &mut Rng, id: String, span: Duration) -> (SessionScript, Vec<i32>) {
    let whole = ["notStarted", "waiting", "active", "complete"];
    let short = ["notStarted", "waiting", "abandoned"];
    let statuses: &[&str] = if rng.u8(0..4) == 0 { &short } else { &whole };
    let statuses = &statuses[rng.usize(0..2)..];
    let mut times: Vec<_> = statuses[1..].iter().map(|_| rng.f64() * span.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let mut script = SessionScript::new(id).step(-1000.0, statuses[0]);
    for (status, at) in statuses[1..].iter().zip(times) {
        script = script.step(at, status).later(at + rng.f64() * 5.0, "notes", rng.u64(..));
    }
    let truth = statuses.iter().map(|status| Status::named(status) as i32).collect();
    (script, truth)
}

/// Outdated answers, or 404. The service would believe two in a row, so a right answer follows
/// each.
fn slips(rng: &mut Rng, vendor: &Control, id: &str) {
    let mut skip = 0;
    for _ in 0..3 {
        skip += rng.u64(2..12);
        let fault = if rng.bool() {
            Fault::status(404)
        } else {
            Fault::Stale { seconds: rng.f64() * 20.0 }
        };
        for fault in [fault, Fault::Right] {
            // A request that matches an earlier rule does not count for a later one.
            let rule = Rule { skip, ..Rule::times(1, fault).for_session(id) };
            vendor.add_fault(rule);
        }
    }
}

/// Faults that any request may have.
fn troubles(vendor: &Control) {
    let mut limited = Fault::status(429);
    if let Fault::Status { retry_after, .. } = &mut limited {
        *retry_after = Some(RetryAfter::Seconds(1));
    }
    let troubles = [
        (0.01, Fault::status(503)),
        (0.01, Fault::status(500)),
        (0.001, limited),
        (0.01, Fault::Reset),
        (0.01, Fault::Close),
        (0.01, Fault::HalfBody),
        (0.01, Fault::ResetHalfway),
        (0.01, Fault::BadJson),
        (0.01, Fault::Html),
        (0.005, Fault::Garbage),
        (0.005, Fault::Hang),
    ];
    for (probability, fault) in troubles {
        vendor.add_fault(Rule { probability: Some(probability), ..Rule::from(fault) });
    }
    let late = Rule { probability: Some(0.1), delay: 0.3, ..Rule::default() };
    vendor.add_fault(late);
}

/// A watcher that leaves, returns and reads slowly until the session is over.
struct Watcher {
    rng: Rng,
    channel: Channel,
    id: String,
    truth: Vec<i32>,
    calm_at: Instant,
    span: Duration,
    call_stats: Arc<CallStats>,
}

impl Watcher {
    async fn watch(mut self) -> Result<(), String> {
        let mut ledger = Ledger::default();
        sleep(self.some(self.span.as_secs_f64() / 5.0)).await;
        while !ledger.is_over {
            let begin = ledger.begin();
            let follow_after_end = self.rng.bool();
            let message = WatchSessionRequest {
                resume_token: ledger.resume_token.clone(),
                follow_after_end: follow_after_end
                    .then_some(prost_types::Duration { seconds: 3, nanos: 0 }),
                ..request::watch(&self.id)
            };
            match open_watch(&self.channel, message).await {
                Ok(watch) => self.follow(watch, begin, &mut ledger).await?,
                Err(status) if is_temporary(&status, begin) => {}
                Err(status) => return Err(format!("{}: cannot start: {status:?}", self.id)),
            }
            if !ledger.is_over {
                sleep(self.some(1.0)).await;
            }
        }
        self.call_stats.transitions.fetch_add(ledger.path.len() - 1, Ordering::Relaxed);
        ledger.check_against(&self.truth).map_err(|fault| format!("{}: {fault}", self.id))
    }

    /// Reads one stream until it ends or the watcher leaves.
    async fn follow(
        &mut self,
        mut watch: Streaming<WatchSessionResponse>,
        mut begin: Begin,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        self.call_stats.streams.fetch_add(1, Ordering::Relaxed);
        let leaves_at = Instant::now() + self.some(self.span.as_secs_f64());
        let told = |fault| format!("{}: {fault}", self.id);
        loop {
            let is_calm = Instant::now() >= self.calm_at;
            if !is_calm && self.rng.u8(0..20) == 0 {
                sleep(Duration::from_secs_f64(self.rng.f64())).await;
            }
            let next = async {
                // Once the faults have ended, every watcher stays.
                if leaves_at < self.calm_at {
                    timeout_at(leaves_at, watch.message()).await
                } else {
                    Ok(watch.message().await)
                }
            };
            let end = match next.await {
                Err(_) => return Ok(()),
                Ok(Ok(Some(message))) => {
                    self.call_stats.messages.fetch_add(1, Ordering::Relaxed);
                    ledger.enter(begin, &message).map_err(told)?;
                    begin = Begin::Under;
                    continue;
                }
                Ok(Ok(None)) => End::Ok,
                Ok(Err(status)) => End::Error(status),
            };
            ledger.end(&end).map_err(told)?;
            return match end {
                End::Error(status) if !is_temporary(&status, Begin::Under) => {
                    Err(format!("{}: the watch ended with {status:?}", self.id))
                }
                End::Ok | End::Error(_) => Ok(()),
            };
        }
    }

    /// A random time of at most this many seconds.
    fn some(&mut self, seconds: f64) -> Duration {
        Duration::from_secs_f64(self.rng.f64() * seconds)
    }
}
