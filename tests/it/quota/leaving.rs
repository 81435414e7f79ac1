//! Calls that leave the queue before they are admitted, just when they are admitted, or never.

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::traffic::quota::Class;
use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, advance, sleep, timeout},
};

use super::{Log, caller, keep_calling, ms, quota};

/// Runs on real time, with many threads and calls that leave at any moment.
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

/// A call that is dropped before it learns of its admission uses no quota.
#[tokio::test(start_paused = true)]
async fn an_admission_nobody_takes_goes_to_the_next() {
    let quota = quota(1.0);
    quota.admit(caller("a"), Class::Unary, None).await.unwrap();
    let mut first = Box::pin(quota.admit(caller("a"), Class::Unary, None));
    let mut second = Box::pin(quota.admit(caller("b"), Class::Unary, None));
    let mut third = Box::pin(quota.admit(caller("c"), Class::Unary, None));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(first);
    // The dispatcher must be waiting before the time advances.
    yield_now().await;
    advance(ms(1001)).await;
    yield_now().await;
    assert_eq!(quota.snapshot().waiting_unary, 1, "the second is admitted");
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(second);
    yield_now().await;
    assert!(futures_util::poll!(&mut third).is_ready());
    assert_eq!(quota.snapshot().used, 1);
}

/// The dispatcher is a task, and must not outlive its quota.
#[tokio::test(start_paused = true)]
async fn the_dispatcher_ends_with_the_quota() {
    let quota = quota(1.0);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..2 {
        quota.admit(caller("a"), Class::Unary, None).await.unwrap();
    }
    assert_eq!(tasks(), before + 1);
    drop(quota);
    yield_now().await;
    assert_eq!(tasks(), before);
}

/// A quota may be used from several runtimes, one after the other.
#[test]
fn a_dispatcher_that_ended_with_its_runtime_is_started_again() {
    let quota = quota(1000.0);
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for _ in 0..20 {
                let admitted = quota.admit(caller("a"), Class::Unary, None);
                timeout(Duration::from_secs(10), admitted).await.unwrap().unwrap();
            }
        });
    }
}
