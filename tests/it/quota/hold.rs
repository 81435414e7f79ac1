//! While the vendor asks for a pause (429 with Retry-After), calls that would fail anyway do not
//! wait.

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::{
    fleet::Permit,
    traffic::quota::{Class, LONGEST_SILENCE, Quota},
    wire::{Error, Kind},
};
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, advance},
};

use super::{caller, quota, urgency};

const MINUTE: Duration = Duration::from_mins(1);

fn spawn(
    quota: &Arc<Quota>,
    class: Class,
    seconds: Option<u64>,
) -> JoinHandle<(Result<Permit, Error>, Duration)> {
    let (quota, began_at) = (Arc::clone(quota), Instant::now());
    tokio::spawn(async move {
        let deadline = seconds.map(|seconds| began_at + Duration::from_secs(seconds));
        let outcome = quota.admit(caller("a"), class, deadline).await;
        (outcome, began_at.elapsed())
    })
}

fn watch() -> Class {
    Class::Watch(urgency(1.0))
}

#[track_caller]
fn assert_held(outcome: (Result<Permit, Error>, Duration), left: Duration) {
    let (outcome, waited) = outcome;
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.http_status), (Kind::RateLimited, None));
    assert_eq!((error.retry_after, waited), (Some(left), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_comes_in_a_long_pause_is_told_at_once_how_long_it_lasts() {
    let quota = quota(8.0);
    quota.slow_down(caller("a"), Some(MINUTE));
    assert_held(spawn(&quota, watch(), None).await.unwrap(), MINUTE);
    advance(MINUTE / 2).await;
    assert_held(spawn(&quota, watch(), None).await.unwrap(), MINUTE / 2);
    advance((MINUTE / 2).saturating_sub(LONGEST_SILENCE)).await;
    let (outcome, waited) = spawn(&quota, watch(), None).await.unwrap();
    outcome.unwrap();
    assert!(waited >= LONGEST_SILENCE, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_when_a_pause_begins_are_told_if_it_outlasts_them() {
    let quota = quota(8.0);
    // These calls use up the burst, so the next ones wait.
    for _ in 0..8 {
        quota.admit(caller("b"), Class::Unary, None).await.unwrap();
    }
    let short = spawn(&quota, Class::Unary, Some(30));
    let long = spawn(&quota, Class::Unary, Some(90));
    let endless = spawn(&quota, Class::Unary, None);
    let watch = spawn(&quota, watch(), None);
    yield_now().await;
    let snapshot = quota.snapshot();
    assert_eq!((snapshot.waiting_unary, snapshot.waiting_watches), (3, 1));
    quota.slow_down(caller("a"), Some(MINUTE));
    let snapshot = quota.snapshot();
    assert_eq!((snapshot.waiting_unary, snapshot.waiting_watches), (2, 0));
    assert_held(short.await.unwrap(), MINUTE);
    assert_held(watch.await.unwrap(), MINUTE);
    for patient in [long, endless] {
        let (outcome, waited) = patient.await.unwrap();
        outcome.unwrap();
        assert!(waited >= MINUTE, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_pause_is_waited_for() {
    let quota = quota(8.0);
    let watching = {
        quota.slow_down(caller("a"), Some(Duration::from_secs(3)));
        [spawn(&quota, watch(), None), spawn(&quota, Class::Unary, Some(10))]
    };
    for waiting in watching {
        waiting.await.unwrap().0.unwrap();
    }
}
