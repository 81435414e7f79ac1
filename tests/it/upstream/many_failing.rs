//! The circuit breaker while many sessions of a caller fail: what one of them suffers stays with it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::{clock::Clock, feed, grpc::caller::Callers, traffic::Client};
use tokio::time::{Instant, advance, sleep_until};

use super::{
    breaker::{PAUSE, SECOND, call_for, client},
    client_with,
};
use crate::kit::{
    request::{authorized, watch},
    server::Server,
    stub::{SESSION, Stub, answer, ok},
};

#[tokio::test(start_paused = true)]
async fn many_sessions_that_fail_take_turns_and_all_come_back_with_the_first() {
    let outage = Instant::now() + SECOND * 300;
    let stub = Stub::scripted(move |_, _| {
        if Instant::now() < outage { answer("503 x", &[], "") } else { ok(SESSION) }
    })
    .await;
    let client = client(&stub);
    let sessions: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    // Each session fails so often that its own circuit opens.
    for _ in 0..5 {
        for session in &sessions {
            call_for(&client, session).await.unwrap_err();
        }
        advance(PAUSE).await;
    }
    let (began_at, before) = (Instant::now(), stub.requests());
    while Instant::now() < outage {
        for session in &sessions {
            call_for(&client, session).await.unwrap_err();
        }
        advance(SECOND / 2).await;
    }
    let trials = stub.requests() - before;
    let seconds = usize::try_from(began_at.elapsed().as_secs()).unwrap();
    assert!(trials < seconds, "{trials} trials in {seconds} s");

    let mut served = 0;
    while served < sessions.len() {
        served = 0;
        for session in &sessions {
            served += usize::from(call_for(&client, session).await.is_ok());
        }
        advance(SECOND / 10).await;
    }
    assert!(outage.elapsed() < SECOND * 3, "{:?}", outage.elapsed());
}

/// Fifty sessions that fail. `late` fails until it recovers, and `healthy` never fails.
struct World {
    stub: Stub,
    client: Client,
    recovery: Instant,
    /// When each session that fails has been tried once. Until then, any of them might be healthy.
    tried_at: Instant,
    /// How long `healthy` waited at most for an answer since then.
    healthy_waited: Duration,
}

impl World {
    async fn new(recovers_after: Duration) -> Self {
        let recovery = Instant::now() + recovers_after;
        let stub = Stub::scripted(move |_, head| {
            let is_late = head.contains("/late ") && Instant::now() >= recovery;
            if is_late || head.contains("/healthy ") {
                ok(SESSION)
            } else {
                answer("503 x", &[], "")
            }
        })
        .await;
        let client = client(&stub);
        let tried_at = Instant::now() + PAUSE * 52;
        Self { stub, client, recovery, tried_at, healthy_waited: Duration::ZERO }
    }

    /// Asks for all sessions, once a second, until `late` answers. If `healthy` is watched, asks
    /// for it every three seconds. If it is refused, asks for it when it may come back. Returns the time
    /// since the recovery.
    async fn until_late_recovers(&mut self, is_healthy_watched: bool) -> Duration {
        let bad: Vec<_> = (0..50).map(|number| format!("bad{number}")).collect();
        let (mut healthy_at, mut healthy_since) = (Instant::now(), Instant::now());
        loop {
            for session in &bad {
                call_for(&self.client, session).await.unwrap_err();
            }
            if call_for(&self.client, "late").await.is_ok() {
                return self.recovery.elapsed();
            }
            if is_healthy_watched && Instant::now() >= healthy_at {
                let pause = match call_for(&self.client, "healthy").await {
                    Ok(()) => {
                        if healthy_since > self.tried_at {
                            self.healthy_waited = self.healthy_waited.max(healthy_since.elapsed());
                        }
                        healthy_since = Instant::now() + SECOND * 3;
                        SECOND * 3
                    }
                    Err(error) => error.retry_after.unwrap(),
                };
                healthy_at = Instant::now() + pause;
            }
            assert!(self.recovery.elapsed() < SECOND * 600, "it does not recover");
            advance(SECOND).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_healthy_session_nor_one_that_recovers_waits_for_fifty_that_fail() {
    let mut world = World::new(SECOND * 200).await;
    let wait = world.until_late_recovers(true).await;
    assert!(wait < SECOND * 5, "{wait:?}");
    assert!(world.healthy_waited < SECOND * 5, "{:?}", world.healthy_waited);
}

#[tokio::test(start_paused = true)]
async fn each_of_fifty_sessions_that_fail_has_its_turn_if_nothing_else_answers() {
    let mut world = World::new(SECOND * 200).await;
    let wait = world.until_late_recovers(false).await;
    // 51 turns of 2 s.
    assert!(wait < SECOND * 106, "{wait:?}");
    let (trials, seconds) = (world.stub.requests(), (SECOND * 200 + wait).as_secs());
    assert!(trials < usize::try_from(seconds).unwrap(), "{trials} trials in {seconds} s");
}

/// The times since the start at which the vendor is down.
const OUTAGE: Range<Duration> = SECOND.saturating_mul(20)..SECOND.saturating_mul(65);

#[tokio::test(start_paused = true)]
async fn thirty_watches_are_served_again_seconds_after_an_outage_of_45_seconds() {
    let start = Instant::now();
    let answers = Arc::<Mutex<Vec<(Duration, String)>>>::default();
    let stub = Stub::scripted({
        let answers = answers.clone();
        move |_, head| {
            let session = head.split(' ').nth(1).unwrap().to_owned();
            answers.lock().unwrap().push((start.elapsed(), session));
            let is_down = OUTAGE.contains(&start.elapsed());
            if is_down { answer("503 x", &[], "") } else { ok(r#"{"status":"active"}"#) }
        }
    })
    .await;
    let client = client_with(&stub, |config| (config.rps, config.burst) = (8.0, 8));
    let (read, clock) = (feed::read(client.clone()), Clock::system());
    let server = Server::assemble(client, read, None, Callers::Own, clock, |_, _| {});
    let mut watches = Vec::new();
    for number in 0..30 {
        let watch = authorized("caller-token", watch(&number.to_string()));
        watches.push(server.client().watch_session(watch).await.unwrap());
    }
    sleep_until(start + OUTAGE.end + SECOND * 15).await;

    let answers = answers.lock().unwrap();
    // At first each session must fail a few times. Then only trials are left.
    let trials = |at: &Duration| (OUTAGE.start + SECOND * 15..OUTAGE.end).contains(at);
    let trials = answers.iter().filter(|(at, _)| trials(at)).count();
    assert!(trials <= 30, "{trials} trials in 30 s");
    let mut first_answers: BTreeMap<&str, Duration> = BTreeMap::new();
    for (at, session) in answers.iter().filter(|(at, _)| *at >= OUTAGE.end) {
        first_answers.entry(session).or_insert(at.saturating_sub(OUTAGE.end));
    }
    let (first, last) =
        (first_answers.values().min().unwrap(), first_answers.values().max().unwrap());
    assert_eq!(first_answers.len(), 30);
    assert!(*first < SECOND * 5 && *last < SECOND * 10, "first {first:?}, last {last:?}");
}
