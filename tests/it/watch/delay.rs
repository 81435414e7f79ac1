//! The delay from a change to its update when the quota is too small for all polls. The test
//! compares this feed and quota with plain round-robin, on the same lives and paused time.
//!
//! `GOTOASSIST_TEST_DELAY=full cargo test --release --test it watch::delay -- --nocapture`
//! prints the table of docs/watching.md.

mod lives;

use std::{
    collections::BinaryHeap,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::{
    clock::Clock,
    credential::Credential,
    feed::{Ask, BoxedListReply, BoxedReply, Feed, HintSource, Keep, Key, List, ListAsk, Settings},
    model::{SessionId, Status},
    traffic::{
        Identities, RequestContext,
        quota::{self, Class, Quota, Scope},
    },
    wire::{Answer, Error, Kind},
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::world::dawn;
use lives::{Life, Lives, all_lives, session, show};

/// Requests per second, the default of `serve`.
const QUOTA: f64 = 8.0;
/// Seconds until the order of the polls no longer depends on the start.
const WARM_UP: f64 = 900.0;
const END: f64 = 4500.0;
/// What an element of the list weighs: all of its documented fields.
const ELEMENT_BYTES: usize = 700;

#[test]
fn detection_delay_is_shorter_than_round_robin() {
    println!("{HEAD}");
    if is_full() {
        compare(Lives::Desk, 100);
        compare(Lives::Desk, 2000);
        compare(Lives::Memoryless, 500);
    }
    let (ours, plain) = compare(Lives::Desk, 500);
    assert!(ours.median <= 0.6 * plain.median, "{ours:?} against {plain:?}");
    assert!(ours.p95 <= plain.p95, "{ours:?} against {plain:?}");
}

/// The vendor's list makes news come within seconds.
#[test]
fn with_the_list_changes_are_detected_within_seconds() {
    println!("{HEAD}");
    let limits: &[_] = if is_full() {
        &[
            (100, 2.0, 5.0),
            (500, 2.0, 5.0),
            (2_000, 3.0, 8.0),
            (3_500, 10.0, 20.0),
            // Each second brings 14 changes and 5 new sessions, and 8 requests cannot ask for all.
            (10_000, f64::MAX, f64::MAX),
        ]
    } else {
        &[(300, 2.0, 5.0)]
    };
    for (count, median, p95) in limits {
        let swept = measure(&all_lives(Lives::Desk, *count), Hints::LIST);
        row(Lives::Desk, *count, "with the list", &swept);
        assert!(swept.median <= *median && swept.p95 <= *p95, "{count}: {swept:?}");
    }
}

/// A list that lags, is refused or lacks half of the sessions makes nothing worse.
#[test]
fn a_bad_list_makes_nothing_worse() {
    println!("{HEAD}");
    let counts: &[_] = if is_full() { &[80, 500, 2_000] } else { &[80] };
    for count in counts {
        let lives = all_lives(Lives::Desk, *count);
        let plain = measure(&lives, Hints::NONE);
        row(Lives::Desk, *count, "without a list", &plain);
        for (name, hints) in [
            ("a list 5 s behind", Hints { lag: 5.0, ..Hints::LIST }),
            ("a list that is refused", Hints { is_refused: true, ..Hints::LIST }),
            ("a list without every second session", Hints { shows: 0.5, ..Hints::LIST }),
        ] {
            let swept = measure(&lives, hints);
            row(Lives::Desk, *count, name, &swept);
            // The order of the polls differs, so the delays do a little.
            assert!(swept.median <= 1.1 * plain.median + 0.1, "{name}: {swept:?} {plain:?}");
            assert!(swept.p95 <= 1.15 * plain.p95 + 0.5, "{name}: {swept:?} {plain:?}");
        }
    }
}

/// A callback brings a change within half a second.
#[test]
fn with_callbacks_changes_are_detected_at_once() {
    println!("{HEAD}");
    let count = if is_full() { 2_000 } else { 200 };
    let called = measure(&all_lives(Lives::Desk, count), Hints { calls_back: true, ..Hints::NONE });
    row(Lives::Desk, count, "with callbacks", &called);
    assert!(called.median <= 0.5, "{called:?}");
}

const HEAD: &str = "| lives | watched sessions | | median | p95 | longest without a poll |\n\
    |---|---|---|---|---|---|";

#[expect(clippy::disallowed_methods, reason = "how long a test runs is not configuration")]
fn is_full() -> bool {
    std::env::var("GOTOASSIST_TEST_DELAY").is_ok()
}

/// What the vendor tells besides the sessions' own answers.
#[derive(Clone, Copy)]
struct Hints {
    has_list: bool,
    /// How many seconds the list is behind.
    lag: f64,
    is_refused: bool,
    /// The share of the sessions that the list shows.
    shows: f64,
    /// Whether the vendor calls back when a customer joins, and when a session ends.
    calls_back: bool,
}

impl Hints {
    const NONE: Self =
        Self { has_list: false, lag: 0.0, is_refused: false, shows: 1.0, calls_back: false };
    const LIST: Self = Self { has_list: true, ..Self::NONE };
}

fn row(kind: Lives, count: u32, name: &str, result: &Measured) {
    let Measured { median, p95, longest } = result;
    println!("| {kind:?} | {count} | {name} | {median:.1} s | {p95:.1} s | {longest:.0} s |");
}

/// Runs both schedules with the same lives.
fn compare(kind: Lives, count: u32) -> (Measured, Measured) {
    let lives = all_lives(kind, count);
    let (ours, plain) = (measure(&lives, Hints::NONE), round_robin(&lives));
    row(kind, count, "round-robin", &plain);
    row(kind, count, "gotoassist-grpc", &ours);
    let (median, p95) = (ours.median / plain.median, ours.p95 / plain.p95);
    println!("| {kind:?} | {count} | ratio | {median:.2} | {p95:.2} | |");
    // Each session is polled again, however unlikely a change is.
    assert!(ours.longest <= 10.0 * f64::from(count) / QUOTA + 60.0, "starved: {ours:?}");
    (ours, plain)
}

#[derive(Debug)]
struct Measured {
    median: f64,
    p95: f64,
    /// The longest time between two polls of one session.
    longest: f64,
}

/// Polls the sessions in a ring.
fn round_robin(lives: &[Vec<Life>]) -> Measured {
    let mut current = vec![(0, 0); lives.len()];
    let mut delays = Vec::new();
    let mut now = 0.0;
    for place in (0..lives.len()).cycle() {
        if now > END {
            break;
        }
        let (number, seen) = &mut current[place];
        let Some(life) = lives[place].get(*number) else { continue };
        let known = life.iter().filter(|(at, _)| *at <= now).count();
        if now > WARM_UP && *seen > 0 {
            delays.extend(life[*seen..known.max(*seen)].iter().map(|(at, _)| now - at));
        }
        *seen = known.max(*seen);
        if *seen == life.len() {
            (*number, *seen) = (*number + 1, 0);
        }
        now += 1.0 / QUOTA;
    }
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let longest = lives.len() as f64 / QUOTA;
    summary(delays, longest)
}

/// The feed and the quota of the service.
fn measure(lives: &[Vec<Life>], hints: Hints) -> Measured {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(async {
        // The polls take their jitter from the generator of this thread, so it is the same in each
        // run.
        fastrand::seed(1);
        let start = Instant::now();
        let clock = Clock::anchored(dawn());
        let quota = Arc::new(Quota::new(quota::Settings {
            rps: QUOTA,
            burst: 8,
            scope: Scope::Process,
            queue_limit: 10_000,
        }));
        let polls: Arc<Mutex<BinaryHeap<u64>>> = Arc::default();
        let gaps = polls.clone();
        let all: Arc<[Vec<Life>]> = lives.into();
        let (told, listed, listing_quota) = (all.clone(), all.clone(), quota.clone());
        let read = move |key: Key, ask: Ask| -> BoxedReply {
            let (quota, all, gaps) = (quota.clone(), told.clone(), gaps.clone());
            Box::pin(async move {
                let (class, since) = match ask {
                    Ask::First(_) => (Class::Unary, None),
                    Ask::Next(urgency, _) => {
                        let since = urgency.since;
                        (Class::Watch(urgency), Some(since))
                    }
                };
                quota.admit(key.credential.id(), class, None).await?;
                if let (Some(since), true) = (since, start.elapsed().as_secs_f64() > WARM_UP) {
                    gaps.lock().unwrap().push(since.elapsed().as_secs());
                }
                sleep(Duration::from_millis(20)).await;
                let session = session(&all, key.session.as_str(), start.elapsed().as_secs_f64());
                Ok(Answer { content: Arc::new(session), observed_at: clock.now() })
            })
        };
        let settings = Settings { linger: Duration::ZERO, ..Settings::default() };
        let list = move |ask: ListAsk, mut keep: Keep| -> BoxedListReply {
            let (quota, all) = (listing_quota.clone(), listed.clone());
            Box::pin(async move {
                quota.admit(ask.credential.id(), Class::Watch(ask.urgency), None).await?;
                if hints.is_refused {
                    return Err(Error::new(Kind::PermissionDenied));
                }
                sleep(Duration::from_millis(200)).await;
                let now = start.elapsed().as_secs_f64() - hints.lag;
                let since = ask.window.from.duration_since(dawn()).as_secs_f64();
                Ok(show(&all, since..now, hints.shows, &mut keep) * ELEMENT_BYTES)
            })
        };
        let list = hints.has_list.then(|| Box::new(list) as Box<List>);
        let feed = Feed::new(read, list, settings, clock, Identities::default());
        let delays: Arc<Mutex<Vec<f64>>> = Arc::default();
        let mut desks = tokio::task::JoinSet::new();
        for place in 0..all.len() {
            let (feed, all, delays) = (feed.clone(), all.clone(), delays.clone());
            desks.spawn(watch_desk(feed, all, place, start, delays, hints.calls_back));
        }
        sleep_until(start + Duration::from_secs_f64(END)).await;
        drop(desks);
        let delays = std::mem::take(&mut *delays.lock().unwrap());
        let longest = polls.lock().unwrap().peek().copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "small")]
        summary(delays, longest as f64)
    })
}

/// Watches one session after the other, and records the delay of each change.
async fn watch_desk(
    feed: Feed,
    lives: Arc<[Vec<Life>]>,
    place: usize,
    start: Instant,
    delays: Arc<Mutex<Vec<f64>>>,
    calls_back: bool,
) {
    let credential = Credential::from_authorization("Bearer t").unwrap();
    for (number, life) in lives[place].iter().enumerate() {
        let key = Key {
            credential: credential.clone(),
            session: format!("{place}-{number}").parse().unwrap(),
        };
        let mut subscription = feed.subscribe(&key, RequestContext::default(), None).await.unwrap();
        let mut seen = subscription.current().state.revision.history.end();
        let calls = calls_back.then(|| call_back(feed.clone(), key.session.clone(), life, start));
        let _calls = calls.map(|calls| AbortOnDropHandle::new(tokio::spawn(calls)));
        loop {
            let revision = subscription.current().state.revision.clone();
            let now = start.elapsed().as_secs_f64();
            for step in revision.history.since(seen) {
                let (at, _) = life.iter().find(|(_, status)| *status == step.to).unwrap();
                // No callback tells that a session has started.
                let is_measured = !calls_back || step.to != Status::Waiting;
                if now > WARM_UP && is_measured {
                    delays.lock().unwrap().push(now - at);
                }
            }
            seen = revision.history.end();
            if revision.session.status().is_final() {
                break;
            }
            subscription.changed().await;
        }
    }
}

/// Gives the hint of each callback, a moment after the change.
fn call_back(
    feed: Feed,
    session: SessionId,
    life: &Life,
    start: Instant,
) -> impl Future<Output = ()> + use<> {
    let told = |status| matches!(status, Status::NotStarted | Status::Waiting);
    let times: Vec<_> =
        life.iter().filter(|(_, status)| !told(*status)).map(|(at, _)| *at).collect();
    async move {
        for at in times.into_iter().filter(|at| *at > 0.0) {
            sleep_until(start + Duration::from_secs_f64(at + 0.1)).await;
            feed.hint(&session, HintSource::Callback);
        }
    }
}

fn summary(mut delays: Vec<f64>, longest: f64) -> Measured {
    assert!(delays.len() > 200, "too few changes to speak of: {}", delays.len());
    delays.sort_by(f64::total_cmp);
    let at = |share: usize| delays[delays.len() * share / 100];
    Measured { median: at(50), p95: at(95), longest }
}
