//! Three replicas in processes of their own, a real Redis, and the simulator, which counts.

use std::time::Duration;

use gotoassist_grpc::{
    proto::remote_support_service_client::RemoteSupportServiceClient, simulator::SessionScript,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Endpoint;

use super::{
    ms,
    redis::{Redis, free_ports},
    until_all,
};
use crate::kit::{
    process::Serve,
    request::{authorized, session, watch},
    soon,
    vendor::Vendor,
};

/// What the vendor allows. The replicas allow themselves eight.
const VENDOR_LIMIT: usize = 10;

const REPLICAS: usize = 3;
const CALLERS: usize = 8;
const WATCHES: usize = 4;

struct World {
    redis: Redis,
    vendor: Vendor,
    ports: Vec<u16>,
    replicas: Vec<Option<Serve>>,
    _load: JoinSet<()>,
}

impl World {
    async fn start(redis: Redis) -> Self {
        let vendor = Vendor::start().await;
        for number in 0..REPLICAS * (CALLERS + WATCHES) {
            vendor.put_session(SessionScript::resting(format!("s{number}"), "active")).unwrap();
        }
        let ports = free_ports(REPLICAS);
        let mut load = JoinSet::new();
        for number in 0..REPLICAS * CALLERS {
            load.spawn(call_again_and_again(ports[number % REPLICAS], number));
        }
        for number in REPLICAS * CALLERS..REPLICAS * (CALLERS + WATCHES) {
            load.spawn(watch_again_and_again(ports[number % REPLICAS], number));
        }
        let replicas = (0..REPLICAS).map(|_| None).collect();
        let mut world = Self { redis, vendor, ports, replicas, _load: load };
        for number in 0..REPLICAS {
            world.start_replica(number).await;
        }
        world
    }

    async fn start_replica(&mut self, number: usize) {
        let mut flags = self.redis.replica_flags();
        flags.push(format!("--listen=127.0.0.1:{}", self.ports[number]));
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        self.replicas[number] = Some(Serve::before(&self.vendor, &flags).await);
    }

    fn replica(&self, number: usize) -> &Serve {
        self.replicas[number].as_ref().unwrap()
    }

    /// Waits until this many requests were answered, and checks the quota. Returns how long it took.
    async fn until_answered(&self, count: u64, what: &str) -> Duration {
        let began_at = Instant::now();
        let goal = self.vendor.counters().requests + count;
        soon(self.vendor.until(|counters| counters.requests >= goal)).await;
        self.check(what);
        began_at.elapsed()
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let counters = self.vendor.counters();
        let most = counters.max_per_second;
        println!("{what}: at most {most} in a second, {} requests", counters.requests);
        assert!(most <= VENDOR_LIMIT, "{what}: {most} requests in a second");
    }

    async fn until_all(&self, metric: &str, value: f64) {
        until_all(&self.replicas, metric, value).await;
    }
}

async fn call_again_and_again(port: u16, number: usize) {
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy();
    let mut client = RemoteSupportServiceClient::new(channel);
    loop {
        let call =
            client.get_session(authorized(&format!("t{number}"), session(&format!("s{number}"))));
        if !matches!(timeout(Duration::from_secs(10), call).await, Ok(Ok(_))) {
            sleep(ms(50)).await;
        }
    }
}

async fn watch_again_and_again(port: u16, number: usize) {
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy();
    let mut client = RemoteSupportServiceClient::new(channel);
    loop {
        let request = authorized(&format!("t{number}"), watch(&format!("s{number}")));
        if let Ok(messages) = client.watch_session(request).await {
            let mut messages = messages.into_inner();
            while let Ok(Some(_)) = messages.message().await {}
        }
        sleep(ms(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_stay_within_the_quota_whatever_happens() {
    let Some(redis) = Redis::start().await else { return };
    let mut world = World::start(redis).await;
    world.until_all("gotoassist_fleet_replicas", 3.0).await;
    let took = world.until_answered(40, "three replicas").await;
    assert!(took <= Duration::from_secs(8), "the quota is used: {took:?} for 40 requests");

    world.replicas[0].take().unwrap().kill().await;
    world.until_answered(15, "a replica is killed").await;
    world.start_replica(0).await;
    world.until_answered(15, "and started again").await;

    world.replica(1).signal("-STOP").await;
    world.until_answered(15, "a replica is stopped").await;
    world.replica(1).signal("-CONT").await;
    world.until_answered(15, "and goes on").await;

    world.redis.command(&["FLUSHALL"]).await;
    world.until_answered(15, "Redis is emptied").await;
    world.redis.command(&["CLIENT", "PAUSE", "3000"]).await;
    world.until_answered(15, "Redis pauses").await;

    world.until_all("gotoassist_fleet_joined", 1.0).await;
    world.redis.kill().await;
    world.until_all("gotoassist_fleet_joined", 0.0).await;
    let page = world.replica(0).page("/").await;
    assert!(page.contains("DEGRADED") && page.contains("goes on alone with"), "{page}");
    assert!(world.replica(0).page("/readyz").await.starts_with("HTTP/1.1 200"));
    world.until_answered(24, "Redis is killed").await;
    world.redis.restart().await;
    world.until_all("gotoassist_fleet_joined", 1.0).await;
    world.until_answered(30, "Redis is back").await;

    let leaving = world.replicas[2].take().unwrap();
    leaving.signal("-TERM").await;
    leaving.ended().await;
    world.until_all("gotoassist_fleet_replicas", 2.0).await;
    world.until_answered(15, "a replica has left").await;
    world.until_all("gotoassist_fleet_silent_replicas", 0.0).await;
}
