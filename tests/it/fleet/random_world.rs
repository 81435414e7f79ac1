//! Random worlds: replicas start, stop and are cut off, and Redis restarts with old data or none.

use std::{collections::HashMap, time::Duration};

use tokio::time::sleep;

use super::{
    lua::Server,
    ms,
    replica::{Link, Log, Replica},
};

/// The usual number of worlds. `GOTOASSIST_TEST_SEEDS` and `GOTOASSIST_TEST_SEED` change it, as for
/// the worlds of watches.
const WORLDS: u64 = 24;

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a test runs is not configuration")]
fn whatever_happens_no_second_holds_more_than_the_quota() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, count) = match number("GOTOASSIST_TEST_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("GOTOASSIST_TEST_SEEDS").unwrap_or(WORLDS)),
    };
    for seed in first..first + count {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        fastrand::seed(seed);
        runtime.block_on(world(seed));
    }
}

async fn world(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let quota = random.usize(1..14);
    let (rps, burst) = (quota as f64 + random.f64() * 0.9, random.u32(1..14));
    let server = Server::new(Duration::from_secs(random.u64(1_000_000..2_000_000_000)));
    let (log, mut replicas, mut started) = (Log::default(), Vec::new(), 0);
    let mut start =
        |random: &mut fastrand::Rng, replicas: &mut Vec<Replica>, name: Option<String>| {
            started += 1;
            let name = name.unwrap_or_else(|| format!("r{started}"));
            let mut replica = Replica::start(&server, &name, (rps, burst), &log);
            let mut link = replica.link.lock().unwrap();
            link.delay = ms(random.u64(0..80));
            link.loss = if random.bool() { random.f64() * 0.1 } else { 0.0 };
            drop(link);
            for caller in 0..random.usize(0..8) {
                replica.add_caller(&format!("{started}-{caller}"), ms(random.u64(1..800)));
            }
            for _ in 0..random.usize(0..4) {
                replica.add_watch(&format!("{started}-watch"), random.bool());
            }
            replicas.push(replica);
        };
    for _ in 0..random.usize(2..=5) {
        start(&mut random, &mut replicas, None);
    }
    let (mut old, mut is_emptied) = (HashMap::new(), false);
    for _ in 0..random.usize(10..60) {
        sleep(ms(random.u64(0..4000))).await;
        let which = random.usize(0..replicas.len());
        let link = replicas[which].link.clone();
        let event = random.u8(0..16);
        is_emptied |= matches!(event, 7 | 8 | 10);
        // An empty server must hear of the replicas that are alone from one that knows them.
        if is_emptied && matches!(event, 12..=14) {
            heal(&replicas);
            sleep(ms(5000)).await;
            is_emptied = false;
        }
        match event {
            0..=2 => link.lock().unwrap().is_cut ^= true,
            3 | 4 => link.lock().unwrap().is_stopped ^= true,
            5 => link.lock().unwrap().delay = ms(random.u64(0..600)),
            6 => old = server.data(),
            7 => server.restart(HashMap::new(), random.i64(-300_000_000..300_000_000)),
            8 => server.restart(old.clone(), 0),
            9 => server.restart(server.data(), 0),
            10 => server.flush(),
            11 => server.pause(ms(random.u64(0..5000))),
            12 if replicas.len() < 7 => start(&mut random, &mut replicas, None),
            13 if replicas.len() > 1 => {
                let mut killed = replicas.swap_remove(which);
                killed.rest().await;
                let name = killed.name.clone();
                drop(killed);
                if random.bool() {
                    start(&mut random, &mut replicas, Some(name));
                }
            }
            14 if replicas.len() > 1 => {
                let mut leaving = replicas.swap_remove(which);
                leaving.rest().await;
                leaving.quota.fleet().leave().await;
            }
            _ => heal(&replicas),
        }
    }
    log.assert_never_above(quota, &format!("seed {seed}"));
}

fn heal(replicas: &[Replica]) {
    for replica in replicas {
        let mut link = replica.link.lock().unwrap();
        *link = Link { is_cut: false, is_stopped: false, delay: ms(20), loss: 0.0, ..*link };
    }
}
