//! A fleet of replicas shares one quota. The tests on paused time run the script of the account in
//! Lua. The tests in `connection` and `sockets` run a real server, if `redis-server` is installed.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test")]

mod connection;
mod lua;
pub mod poll_store;
mod polls;
mod random_world;
mod redis;
mod replica;
mod shared_polls;
mod sockets;
mod tokens;

use std::time::Duration;

use gotoassist_grpc::{
    fleet::{ALONE_AFTER, account::SCRIPT},
    traffic::quota::{ROUTINE_SHARE, WATCH_SHARE},
};
use tokio::time::{Instant, sleep};

use crate::kit::{process::Serve, soon};
use lua::Server;
use replica::{Log, Replica};

#[test]
fn the_script_gives_turns_as_the_queue_of_a_process_does() {
    let line = format!("local WATCH_SHARE, ROUTINE_SHARE = {WATCH_SHARE}, {ROUTINE_SHARE}\n");
    assert!(SCRIPT.contains(&line));
}

const CLOCK: Duration = Duration::from_hours(500_000);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Waits until a metric of each replica that runs has this value.
async fn until_all(replicas: &[Option<Serve>], metric: &str, value: f64) {
    soon(async {
        for serve in replicas.iter().flatten() {
            while (serve.metric(metric).await - value).abs() > 0.01 {
                sleep(ms(20)).await;
            }
        }
    })
    .await;
}

/// Replicas that have joined.
async fn fleet(size: usize, rps: f64) -> (Server, Log, Vec<Replica>) {
    fleet_with_burst(size, rps, 8).await
}

async fn fleet_with_burst(size: usize, rps: f64, burst: u32) -> (Server, Log, Vec<Replica>) {
    let (server, log) = (Server::new(CLOCK), Log::default());
    let start =
        |number: usize| Replica::start(&server, &format!("replica-{number}"), (rps, burst), &log);
    let replicas: Vec<_> = (0..size).map(start).collect();
    for replica in &replicas {
        replica.link.lock().unwrap().delay = Duration::from_micros(300);
        replica.until_joined().await;
    }
    (server, log, replicas)
}

/// Three replicas whose callers together ask for far more than the quota.
async fn busy_fleet() -> (Server, Log, Vec<Replica>) {
    let (server, log, mut replicas) = fleet(3, 8.0).await;
    for (number, replica) in replicas.iter_mut().enumerate() {
        for caller in 0..10 {
            replica.add_caller(&format!("{number}-{caller}"), ms(20));
        }
    }
    (server, log, replicas)
}

fn cut_off(replicas: &[Replica], is_cut: bool) {
    for replica in replicas {
        replica.link.lock().unwrap().is_cut = is_cut;
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_all_replicas_share_alike() {
    let (_server, log, mut replicas) = fleet(3, 8.0).await;
    for (replica, callers) in replicas.iter_mut().zip([20, 6, 4]) {
        for number in 0..callers {
            replica.add_caller(&format!("{}-{number}", replica.name), ms(40));
        }
    }
    sleep(Duration::from_secs(5)).await;
    let start = Instant::now();
    sleep(Duration::from_mins(2)).await;
    log.assert_never_above(8, "three replicas");
    let shares = log.shares(start);
    let (most, least) = (shares.values().max().unwrap(), shares.values().min().unwrap());
    assert_eq!(shares.len(), 30);
    assert!(10 * most <= 13 * least, "{most} against {least}: {shares:?}");
    let used = log.since(start) as f64 / start.elapsed().as_secs_f64();
    assert!(used >= 7.2, "the quota is used: {used}");
}

#[tokio::test(start_paused = true)]
async fn unary_calls_go_before_polls_of_other_replicas_and_polls_never_starve() {
    let (_server, log, mut replicas) = fleet(3, 8.0).await;
    for number in 0..20 {
        replicas[0].add_caller(&format!("unary-{number}"), ms(20));
        replicas[1].add_watch("hinted", true);
        replicas[2].add_watch("routine", false);
    }
    sleep(Duration::from_secs(5)).await;
    let start = Instant::now();
    sleep(Duration::from_mins(3)).await;
    log.assert_never_above(8, "classes");
    let shares = log.shares(start);
    let total = log.since(start);
    let (hinted, routine) = (shares["hinted"], shares["routine"]);
    let expected = total / WATCH_SHARE;
    assert!(
        (hinted + routine).abs_diff(expected) <= expected / 4,
        "{hinted}, {routine} of {total}"
    );
    assert!(hinted >= 2 * routine && routine > 0, "{hinted} against {routine}");
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_for_redis_while_quota_is_left() {
    let (_server, log, replicas) = fleet(3, 8.0).await;
    let mut waits = Vec::new();
    for number in 0..90 {
        waits.push(replicas[number % 3].call("a").await);
        sleep(ms(270)).await;
    }
    waits.sort();
    assert_eq!(waits[45], Duration::ZERO, "{waits:?}");
    assert!(waits[89] <= ms(20), "{waits:?}");
    log.assert_never_above(8, "calm");
}

#[tokio::test(start_paused = true)]
async fn a_slow_redis_delays_calls_a_little() {
    let (_server, log, mut replicas) = fleet(2, 8.0).await;
    for (delay, limit) in [(ms(25), ms(300)), (ms(250), ms(2500))] {
        for replica in &mut replicas {
            replica.link.lock().unwrap().delay = delay;
        }
        for number in 0..20 {
            let wait = replicas[number % 2].call("a").await;
            assert!(wait <= limit, "{delay:?}: {wait:?}");
            sleep(ms(700)).await;
        }
    }
    log.assert_never_above(8, "slow");
}

#[tokio::test(start_paused = true)]
async fn without_redis_each_goes_on_with_its_share_and_they_join_again_without_a_burst() {
    let (_server, log, replicas) = busy_fleet().await;
    sleep(Duration::from_secs(10)).await;
    cut_off(&replicas, true);
    sleep(Duration::from_secs(1) + ms(150)).await;
    assert!(replicas.iter().all(|replica| !replica.is_joined()));
    sleep(ALONE_AFTER.saturating_sub(Duration::from_secs(1))).await;
    let alone = Instant::now();
    sleep(Duration::from_mins(1)).await;
    let shares: Vec<f64> =
        replicas.iter().map(|replica| replica.quota.fleet().standing().unwrap().share).collect();
    assert!((shares.iter().sum::<f64>() - 8.0).abs() < 0.01, "{shares:?}");
    let used = log.since(alone);
    assert!((440..=480).contains(&used), "{used}");
    cut_off(&replicas, false);
    sleep(Duration::from_secs(5)).await;
    let joined = Instant::now();
    sleep(Duration::from_secs(30)).await;
    assert!(replicas.iter().all(Replica::is_joined));
    assert!(log.since(joined) >= 200, "{}", log.since(joined));
    log.assert_never_above(8, "away and back");
}

#[tokio::test(start_paused = true)]
async fn the_share_of_a_replica_that_is_cut_off_stays_free_until_it_is_replaced_or_back() {
    let (server, log, mut replicas) = busy_fleet().await;
    replicas[2].link.lock().unwrap().is_cut = true;
    sleep(Duration::from_secs(5)).await;
    let start = Instant::now();
    sleep(Duration::from_mins(1)).await;
    let standing = replicas[0].quota.fleet().standing().unwrap();
    assert_eq!((standing.replicas, standing.silent), (3, 1));
    let used = log.since(start);
    assert!((420..=486).contains(&used), "{used}");
    log.assert_never_above(8, "one cut off");
    // The process ends, and a new one takes its place.
    replicas.pop().unwrap().rest().await;
    let fresh = Replica::start(&server, "replica-2", (8.0, 8), &log);
    fresh.until_joined().await;
    let standing = replicas[0].quota.fleet().standing().unwrap();
    assert_eq!((standing.replicas, standing.silent), (3, 0));
    log.assert_never_above(8, "replaced");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_leaves_gives_its_share_back_at_once() {
    let (_server, log, mut replicas) = fleet(2, 8.0).await;
    let leaving = replicas.pop().unwrap();
    leaving.quota.fleet().leave().await;
    drop(leaving);
    for caller in 0..10 {
        replicas[0].add_caller(&format!("{caller}"), ms(20));
    }
    sleep(Duration::from_secs(4)).await;
    let start = Instant::now();
    sleep(Duration::from_secs(20)).await;
    let standing = replicas[0].quota.fleet().standing().unwrap();
    assert_eq!((standing.replicas, standing.silent), (1, 0));
    assert!((standing.share - 8.0).abs() < 0.01, "{standing:?}");
    assert!(log.since(start) >= 145, "{}", log.since(start));
    log.assert_never_above(8, "left");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_at_one_replica_slows_all() {
    let (_server, log, mut replicas) = fleet(3, 8.0).await;
    let credential = gotoassist_grpc::credential::Credential::SERVICE.id();
    replicas[0].quota.slow_down(credential, Some(Duration::from_secs(5)));
    sleep(ms(300)).await;
    for (number, replica) in replicas.iter_mut().enumerate() {
        assert!(replica.quota.snapshot().pause > Duration::from_secs(4), "{number}");
        assert!((replica.quota.snapshot().rate - 4.0).abs() < 0.1, "{number}");
        replica.add_caller(&format!("{number}"), ms(20));
    }
    let start = Instant::now();
    sleep(ms(4500)).await;
    assert_eq!(log.since(start), 0, "the vendor wants a pause");
    sleep(Duration::from_secs(20)).await;
    let used = log.since(start);
    assert!((60..=80).contains(&used), "{used}");
    log.assert_never_above(4, "slowed");
    for _ in 0..400 {
        replicas[1].quota.speed_up(credential);
    }
    sleep(ms(500)).await;
    assert!((replicas[2].quota.snapshot().rate - 8.0).abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_whenever_it_comes() {
    let (_server, _log, replicas) = fleet(2, 8.0).await;
    let credential = gotoassist_grpc::credential::Credential::SERVICE.id();
    for replica in &replicas {
        // A question is nearly always under way.
        replica.link.lock().unwrap().delay = ms(60);
    }
    for number in 0..12 {
        sleep(ms(3000 + 13 * number)).await;
        replicas[0].quota.slow_down(credential, Some(Duration::from_secs(2)));
        sleep(ms(900)).await;
        assert!(replicas[1].quota.snapshot().pause > ms(500), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_all_replicas_is_no_larger_than_that_of_one_process() {
    let (_server, log, mut replicas) = fleet_with_burst(3, 8.0, 4).await;
    sleep(Duration::from_secs(5)).await;
    let start = Instant::now();
    for replica in &mut replicas {
        for caller in 0..8 {
            replica.add_caller(&format!("{}-{caller}", replica.name), Duration::from_mins(1));
        }
    }
    sleep(ms(100)).await;
    let burst = log.since(start);
    assert!((3..=5).contains(&burst), "{burst}");
    sleep(Duration::from_secs(6)).await;
    assert_eq!(log.since(start), 24);
}

#[tokio::test(start_paused = true)]
async fn an_emptied_account_grants_nothing_for_a_window_and_remembers_who_is_away() {
    let (server, log, replicas) = busy_fleet().await;
    replicas[1].link.lock().unwrap().is_cut = true;
    sleep(Duration::from_secs(10)).await;
    server.flush();
    sleep(Duration::from_secs(30)).await;
    server.restart(std::collections::HashMap::new(), 0);
    sleep(Duration::from_secs(30)).await;
    log.assert_never_above(8, "emptied");
    replicas[1].link.lock().unwrap().is_cut = false;
    sleep(Duration::from_secs(10)).await;
    let start = Instant::now();
    sleep(Duration::from_secs(20)).await;
    assert!(log.since(start) >= 140, "{}", log.since(start));
    log.assert_never_above(8, "back");
    assert!(server.size() < 4000, "{}", server.size());
    assert!(server.age() > Duration::from_mins(1));
}
