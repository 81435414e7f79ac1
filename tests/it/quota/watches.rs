//! Polls come after unary calls, in the order of their expected benefit.

#![expect(clippy::cast_precision_loss, reason = "a test")]

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::traffic::quota::{Class, WATCH_SHARE};
use tokio::{task::JoinSet, time::sleep};

use super::{Log, caller, keep_calling, quota, urgency};

#[tokio::test(start_paused = true)]
async fn unary_calls_go_first_and_watches_never_starve() {
    let (quota, log) = (quota(8.0), Log::default());
    let mut callers = JoinSet::new();
    for number in 0..20 {
        callers.spawn(keep_calling(Arc::clone(&quota), format!("unary-{number}"), log.clone()));
    }
    for _ in 0..10 {
        let (quota, log) = (Arc::clone(&quota), log.clone());
        callers.spawn(async move {
            loop {
                quota.admit(caller("w"), Class::Watch(urgency(1.0)), None).await.unwrap();
                log.note("watch");
            }
        });
    }
    sleep(Duration::from_mins(1)).await;
    callers.shutdown().await;
    let watches = log.shares()["watch"];
    let expected = log.len() / WATCH_SHARE;
    assert!(watches.abs_diff(expected) <= 2, "{watches} of {}", log.len());
}

#[tokio::test(start_paused = true)]
async fn sessions_likely_to_change_are_asked_more_often() {
    let (quota, log) = (quota(8.0), Log::default());
    let mut watches = JoinSet::new();
    for number in 0..100 {
        let (quota, log) = (Arc::clone(&quota), log.clone());
        let (name, weight) = if number < 50 { ("lively", 0.4) } else { ("calm", 0.1) };
        watches.spawn(async move {
            loop {
                quota.admit(caller("w"), Class::Watch(urgency(weight)), None).await.unwrap();
                log.note(name);
            }
        });
    }
    sleep(Duration::from_mins(10)).await;
    watches.shutdown().await;
    log.assert_never_above(8);
    let shares = log.shares();
    let ratio = shares["lively"] as f64 / shares["calm"] as f64;
    assert!((3.5..=4.5).contains(&ratio), "{shares:?}");
}
