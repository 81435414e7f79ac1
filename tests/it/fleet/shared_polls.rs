//! Three replicas in processes of their own, a real Redis, and the simulator: one poll for all, whatever
//! happens to the one that polls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::{
    proto::{
        Session, SessionStatus, StatusTransition,
        remote_support_service_client::RemoteSupportServiceClient,
    },
    simulator::SessionScript,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::{Code, transport::Endpoint};

use super::{
    ms,
    redis::{Redis, free_ports},
    until_all,
};
use crate::kit::{
    process::{Serve, binary, run},
    request::{authorized, session, watch},
    soon, unused_url,
    vendor::Vendor,
};

const REPLICAS: usize = 3;
const SESSIONS: usize = 6;

/// How often a replica polls a session, with jitter.
const INTERVAL: Duration = Duration::from_millis(1_650);

/// The longest time without a poll when a replica is lost: its lease, a beat, and a poll.
const TAKEOVER: Duration = Duration::from_millis(3_000 + 500 + 1_650 + 350);

struct World {
    redis: Redis,
    vendor: Vendor,
    ports: Vec<u16>,
    replicas: Vec<Option<Serve>>,
    watches: JoinSet<Vec<SessionStatus>>,
    /// How many watches have seen each session with each note.
    seen: Seen,
}

type Seen = Arc<Mutex<BTreeMap<(String, SessionStatus), usize>>>;

impl World {
    async fn start(redis: Redis) -> Self {
        let vendor = Vendor::start().await;
        let ports = free_ports(REPLICAS);
        let replicas = (0..REPLICAS).map(|_| None).collect();
        let (watches, seen) = (JoinSet::new(), Seen::default());
        let mut world = Self { redis, vendor, ports, replicas, watches, seen };
        for number in 0..REPLICAS {
            world.start_replica(number).await;
        }
        world.until_all("gotoassist_fleet_replicas", 3.0).await;
        world
    }

    async fn start_replica(&mut self, number: usize) {
        let mut flags = self.redis.replica_flags();
        flags.push(format!("--listen=127.0.0.1:{}", self.ports[number]));
        let flags = flags.iter().map(String::as_str);
        let flags: Vec<_> = flags.chain(["--poll-active=1500ms", "--sweep=off"]).collect();
        self.replicas[number] = Some(Serve::before(&self.vendor, &flags).await);
    }

    fn replica(&self, number: usize) -> &Serve {
        self.replicas[number].as_ref().unwrap()
    }

    /// Starts a session that changes when [`World::advance`] says so, with a watch at each replica.
    async fn add_session(&mut self, id: &str) {
        self.put(id, "waiting");
        for number in 0..REPLICAS {
            let mut ports = self.ports.clone();
            ports.rotate_left(number);
            self.watches.spawn(follow(ports, id.to_owned(), self.seen.clone()));
        }
        self.until_seen(id, SessionStatus::Waiting).await;
    }

    fn put(&self, id: &str, status: &str) {
        self.vendor.put_session(SessionScript::resting(id, status)).unwrap();
    }

    /// Changes the status of a session. Returns how long it took until all watches have seen it.
    async fn advance(&self, id: &str, status: &str, seen: SessionStatus) -> Duration {
        let changed_at = Instant::now();
        self.put(id, status);
        self.until_seen(id, seen).await;
        changed_at.elapsed()
    }

    async fn until_seen(&self, id: &str, status: SessionStatus) {
        let key = (id.to_owned(), status);
        let mut rounds = 0;
        while self.seen.lock().unwrap().get(&key) != Some(&REPLICAS) {
            sleep(ms(5)).await;
            rounds += 1;
            let seen = self.seen.lock().unwrap();
            assert!(rounds < 4_000, "{key:?} is not seen by all: {seen:?}");
        }
    }

    async fn until_all(&self, metric: &str, value: f64) {
        until_all(&self.replicas, metric, value).await;
    }

    fn polls(&self) -> u64 {
        self.vendor.counters().requests
    }

    /// The longest time until each session that is not over is polled again.
    async fn until_polled(&self, what: &str) -> Duration {
        let (began_at, mut before) = (Instant::now(), self.vendor.counters().by_session);
        let seen = self.seen.lock().unwrap().clone();
        before.retain(|session, _| !seen.contains_key(&(session.clone(), SessionStatus::Complete)));
        soon(async {
            loop {
                let now = self.vendor.counters().by_session;
                if before.iter().all(|(session, count)| now[session] > *count) {
                    break;
                }
                sleep(ms(5)).await;
            }
        })
        .await;
        println!("{what}: all sessions are polled again after {:?}", began_at.elapsed());
        began_at.elapsed()
    }
}

/// Watches a session until it is over, at the next replica whenever a watch ends. Returns the statuses
/// that it was told.
async fn follow(ports: Vec<u16>, id: String, seen: Seen) -> Vec<SessionStatus> {
    let (mut told, mut resume_token) = (Vec::new(), String::new());
    for port in ports.iter().cycle() {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let endpoint = endpoint
            .connect_timeout(ms(500))
            .http2_keep_alive_interval(ms(500))
            .keep_alive_timeout(ms(500));
        let mut client = RemoteSupportServiceClient::new(endpoint.connect_lazy());
        let mut request = watch(&id);
        request.resume_token.clone_from(&resume_token);
        let Ok(messages) = client.watch_session(authorized("t", request)).await else {
            sleep(ms(100)).await;
            continue;
        };
        let mut messages = messages.into_inner();
        loop {
            match messages.message().await {
                Ok(Some(message)) => {
                    resume_token.clone_from(&message.resume_token);
                    let first = message.session.iter().map(Session::status);
                    let later = message.transitions.iter().map(StatusTransition::to_status);
                    let statuses: Vec<_> =
                        if told.is_empty() { first.collect() } else { later.collect() };
                    for status in statuses {
                        told.push(status);
                        *seen.lock().unwrap().entry((id.clone(), status)).or_default() += 1;
                    }
                }
                Ok(None) => return told,
                Err(status) => {
                    assert!(
                        matches!(
                            status.code(),
                            Code::Unavailable | Code::Unknown | Code::Cancelled
                        ),
                        "{status:?}"
                    );
                    break;
                }
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_polls_for_all_whatever_happens_to_it() {
    let Some(redis) = Redis::start().await else { return };
    let mut world = World::start(redis).await;
    for number in 0..SESSIONS {
        world.add_session(&format!("s{number}")).await;
        // All watches of a session poll while nobody has its lease yet.
        world.advance(&format!("s{number}"), "active", SessionStatus::Active).await;
    }
    world.until_polled("at first").await;

    let (began_at, before) = (Instant::now(), world.polls());
    sleep(Duration::from_secs(6)).await;
    let polls = world.polls() - before;
    let most = SESSIONS as f64 * began_at.elapsed().as_secs_f64() / 1.5;
    println!("{polls} polls, where one replica makes {most:.1}");
    assert!(polls as f64 <= 1.05 * most + 3.0, "{polls} polls against {most}");

    world.replicas[0].take().unwrap().kill().await;
    let gap = world.until_polled("a replica is killed").await;
    assert!(gap <= TAKEOVER, "{gap:?}");
    world.advance("s0", "complete", SessionStatus::Complete).await;
    world.start_replica(0).await;

    world.replica(1).signal("-STOP").await;
    let gap = world.until_polled("a replica is stopped").await;
    assert!(gap <= TAKEOVER, "{gap:?}");
    world.advance("s1", "complete", SessionStatus::Complete).await;
    world.replica(1).signal("-CONT").await;

    world.redis.command(&["FLUSHALL"]).await;
    world.until_polled("Redis is emptied").await;
    world.advance("s2", "complete", SessionStatus::Complete).await;

    world.redis.command(&["CLIENT", "PAUSE", "3000"]).await;
    world.until_polled("Redis pauses").await;
    world.advance("s3", "complete", SessionStatus::Complete).await;

    world.until_all("gotoassist_fleet_joined", 1.0).await;
    world.redis.kill().await;
    world.until_all("gotoassist_fleet_joined", 0.0).await;
    world.advance("s4", "complete", SessionStatus::Complete).await;
    world.redis.restart().await;
    world.until_all("gotoassist_fleet_joined", 1.0).await;

    let leaving = world.replicas[2].take().unwrap();
    leaving.signal("-TERM").await;
    let gap = world.until_polled("a replica drains").await;
    assert!(gap <= INTERVAL + ms(2_000), "{gap:?}");
    leaving.ended().await;
    world.advance("s5", "complete", SessionStatus::Complete).await;

    let whole = [SessionStatus::Waiting, SessionStatus::Active, SessionStatus::Complete];
    while let Some(told) = soon(world.watches.join_next()).await {
        assert_eq!(told.unwrap(), whole);
    }
    assert!(world.vendor.counters().max_per_second <= 10);
    // The poll of one replica may answer a call at another one.
    world.add_session("s6").await;
    let mut request = authorized("t", session("s6"));
    request.metadata_mut().insert("max-staleness", "10s".parse().unwrap());
    let before = world.polls();
    let mut client = world.replica(1).client().await;
    soon(client.get_session(request)).await.unwrap();
    assert!(world.polls() <= before + 1);
}

#[tokio::test]
async fn the_demo_shows_three_replicas_as_one() {
    let Some(redis) = Redis::start().await else { return };
    let url = format!("--fleet=redis://127.0.0.1:{}", redis.port);
    let (status, stdout, stderr) = run(binary(&["demo", &url])).await;
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    for replica in ["replica 2", "replica 3"] {
        let told = stdout.lines().filter(|line| line.ends_with(replica));
        assert_eq!(told.filter(|line| line.contains("complete")).count(), 1, "{stdout}");
    }
    let polls = stdout.split(" requests").next().unwrap().rsplit(' ').next().unwrap();
    assert!(polls.parse::<usize>().unwrap() <= 20, "{stdout}");

    let url = unused_url().replace("http", "--fleet=redis");
    let (status, stdout, stderr) = run(binary(&["demo", &url])).await;
    assert_eq!(status, 1, "{stdout}");
    assert!(stderr.contains("does Redis answer at redis://"), "{stderr}");
}
