//! Calls that go before their turn, at their turn, or not at all.

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::traffic::quota::Class;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Log, caller, keep_calling, ms, quota};

/// Outside of paused time: many threads, and calls that go at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_do_not_get_in_each_others_way() {
    let quota = quota(100.0);
    let (log, start) = (Log::default(), Instant::now());
    let mut calls = JoinSet::new();
    for number in 0..400 {
        let (quota, log) = (Arc::clone(&quota), log.clone());
        calls.spawn(async move {
            let name = (number % 7).to_string();
            let patience = ms(if number % 2 == 0 { fastrand::u64(0..500) } else { 1 << 40 });
            let admitted = quota.admit(caller(&name), Class::Unary, None);
            if timeout(patience, admitted).await.is_ok() {
                log.note(&name);
            }
        });
    }
    let all = async { while calls.join_next().await.is_some() {} };
    timeout(Duration::from_secs(30), all).await.unwrap();
    assert!(log.len() >= 200, "{}", log.len());
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_kept_but_left_alone_stops_nobody_else() {
    let (quota, log) = (quota(8.0), Log::default());
    for _ in 0..8 {
        quota.admit(caller("a"), Class::Unary, None).await.unwrap();
    }
    let mut alone: Vec<_> =
        (0..3).map(|_| Box::pin(quota.admit(caller("alone"), Class::Unary, None))).collect();
    for admission in &mut alone {
        assert!(futures_util::poll!(admission).is_pending());
    }
    let mut callers = JoinSet::new();
    for number in 0..10 {
        callers.spawn(keep_calling(Arc::clone(&quota), number.to_string(), log.clone()));
    }
    sleep(Duration::from_secs(30)).await;
    callers.shutdown().await;
    assert!(log.len() >= 200, "{}", log.len());
}

/// Calls that are admitted and dropped before they hear of it are not counted.
#[tokio::test(start_paused = true)]
async fn an_admission_nobody_takes_goes_to_the_next() {
    let quota = quota(1.0);
    quota.admit(caller("a"), Class::Unary, None).await.unwrap();
    let mut first = Box::pin(quota.admit(caller("a"), Class::Unary, None));
    let mut second = Box::pin(quota.admit(caller("b"), Class::Unary, None));
    let mut keeper = Box::pin(quota.admit(caller("c"), Class::Unary, None));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert!(futures_util::poll!(&mut keeper).is_pending());
    drop(first);
    tokio::time::advance(ms(1001)).await;
    // It keeps the time now, and calls itself, but goes before it hears it.
    assert!(futures_util::poll!(&mut second).is_pending());
    assert_eq!(quota.snapshot().waiting_unary, 1, "the second is called");
    assert!(futures_util::poll!(&mut keeper).is_pending());
    drop(second);
    assert!(futures_util::poll!(&mut keeper).is_ready());
    assert_eq!(quota.snapshot().used, 1);
}
