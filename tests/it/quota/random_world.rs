//! A random world: callers and watches come and give up, and the vendor sometimes refuses.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test")]

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::{
    traffic::quota::{Class, Quota, Settings},
    wire::Kind,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Log, caller, ms, settings, urgency};

#[test]
fn whatever_comes_the_quota_holds_and_nobody_is_forgotten() {
    for seed in 0..25 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(random_world(seed));
    }
}

async fn random_world(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let most = random.usize(1..12);
    let queue_limit = random.usize(1..200);
    let rps = most as f64 + random.f64() * 0.9;
    let quota = Arc::new(Quota::new(Settings { queue_limit, ..settings(rps) }));
    let (log, mut calls) = (Log::default(), JoinSet::new());
    for _ in 0..random.usize(1..300) {
        let (quota, log) = (Arc::clone(&quota), log.clone());
        let name = format!("caller-{}", random.u8(0..10));
        let class =
            if random.u8(0..4) == 0 { Class::Watch(urgency(random.f64())) } else { Class::Unary };
        let deadline = random.bool().then(|| Instant::now() + ms(random.u64(0..5000)));
        let patience = if random.u8(0..4) == 0 { ms(random.u64(0..2500)) } else { ms(1 << 40) };
        match random.u8(0..60) {
            0 => quota.slow_down(caller(&name), None),
            1 => quota.slow_down(caller(&name), Some(ms(random.u64(0..9000)))),
            _ => quota.speed_up(caller(&name)),
        }
        calls.spawn(async move {
            match timeout(patience, quota.admit(caller(&name), class, deadline)).await {
                Ok(Ok(_permit)) => log.note(&name),
                Ok(Err(error)) => {
                    let is_refusal = matches!(error.kind, Kind::QuotaExhausted | Kind::RateLimited);
                    assert!(is_refusal, "{error:?}");
                }
                Err(_given_up) => {}
            }
        });
        if random.u8(0..3) == 0 {
            sleep(ms(random.u64(0..250))).await;
        }
    }
    let everybody = async { while calls.join_next().await.transpose().unwrap().is_some() {} };
    timeout(Duration::from_hours(10), everybody)
        .await
        .unwrap_or_else(|_| panic!("seed {seed}: forgotten"));
    log.assert_never_above(most);
    let snapshot = quota.snapshot();
    assert_eq!((snapshot.waiting_unary, snapshot.waiting_watches), (0, 0), "seed {seed}");
}
