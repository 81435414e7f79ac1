//! Random worlds. Every watcher must get a true history: ordered, unique, complete and resumable.
//! It ends with OK exactly when the session is over, is isolated by credential, and costs few
//! polls.
//!
//! The seed alone determines a world. `GOTOASSIST_TEST_SEEDS=10000` sets the number of seeds, and
//! `GOTOASSIST_TEST_SEED=42` replays one world.

mod desk;
mod fleet;
mod trickster;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, atomic::Ordering},
    time::Duration,
};

use fastrand::Rng;
use gotoassist_grpc::{
    grpc::session::to_proto,
    model::Session,
    proto::{self, SessionStatus, WatchSessionRequest},
};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use fleet::Fleet;
use trickster::trickster;

use super::{
    hints,
    ledger::{Begin, Ledger},
    life::life,
    poison,
    world::{End, Server, Vendor},
};
use crate::kit::request;

const SEEDS: u64 = 500;
/// After this time the vendor gives right answers and nobody leaves, so that every watch ends.
const CALM_AFTER: Duration = Duration::from_mins(12);

#[test]
fn every_history_is_true() {
    let told = usual();
    let messages: usize = told.iter().map(|told| told.messages).sum();
    let listed: usize = told.iter().map(|told| told.listed).sum();
    println!("{} worlds: {messages} messages, {listed} readings of the list", told.len());
    assert!(messages > 0 && listed > 0);
}

/// The rule `Contained`: one failing session and one refused credential change neither the messages
/// of other watchers nor their times.
#[test]
fn what_one_session_suffers_stays_with_it() {
    let delays = |told: &[Told]| {
        let mut delays: Vec<_> = told.iter().flat_map(|told| &told.delays).copied().collect();
        delays.sort();
        let at = |share: usize| delays[delays.len() * share / 100].as_secs_f64();
        (at(50), at(95))
    };
    // With fewer worlds, chance decides about the p95.
    let poisoned = play(&seeds(SEEDS * 2 / 3), Kind::Poisoned);
    let (clean, poisoned) = (delays(usual()), delays(&poisoned));
    println!(
        "median and p95 of delays in seconds: {clean:.2?} without, {poisoned:.2?} with poison"
    );
    assert!(poisoned.0 <= 1.2 * clean.0 + 0.1, "{clean:?} {poisoned:?}");
    assert!(poisoned.1 <= 1.2 * clean.1 + 0.1, "{clean:?} {poisoned:?}");
}

/// A fleet tells the same histories, whatever happens to its network, its messages and its Redis.
#[test]
fn every_history_of_a_fleet_is_true() {
    let told = play(&seeds(SEEDS / 10), Kind::Fleet);
    let messages: usize = told.iter().map(|told| told.messages).sum();
    println!("{} worlds with a fleet: {messages} messages", told.len());
    assert!(messages > 0);
}

/// The usual worlds, which two tests look at.
fn usual() -> &'static [Told] {
    static TOLD: LazyLock<Vec<Told>> = LazyLock::new(|| play(&seeds(SEEDS), Kind::Usual));
    &TOLD
}

/// What is special about a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Two servers on their own.
    Usual,
    /// The same, and a session and a credential that suffer.
    Poisoned,
    /// Up to five servers that share their polls.
    Fleet,
}

/// What the watchers of a world received.
#[derive(Default)]
pub struct Told {
    messages: usize,
    /// The delay from each change of status to its update, if somebody was watching.
    delays: Vec<Duration>,
    /// How often the servers read the list.
    listed: usize,
}

#[expect(clippy::disallowed_methods, reason = "how long a test runs is not configuration")]
fn seeds(usual: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("GOTOASSIST_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("GOTOASSIST_TEST_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// Runs the worlds of these seeds on all cores.
fn play(seeds: &[u64], kind: Kind) -> Vec<Told> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = Mutex::new(seeds.iter().copied());
    let work = || {
        let mut told = Vec::new();
        while let Some(seed) = { next.lock().unwrap().next() } {
            told.push(run(seed, kind).unwrap_or_else(|fault| {
                panic!("{kind:?}, seed {seed}: {fault}\nreplay: GOTOASSIST_TEST_SEED={seed} cargo test --test it watch::random")
            }));
        }
        told
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// Runs one world.
fn run(seed: u64, kind: Kind) -> Result<Told, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    // Polls and rotations take their jitter from the generator of this thread.
    fastrand::seed(seed);
    runtime.block_on(async { World::new(seed, kind).play(kind == Kind::Poisoned).await })
}

struct World {
    rng: Rng,
    /// The trouble has its own generator, so that it does not change the behaviour of the others.
    poison_rng: Rng,
    vendor: Arc<Vendor>,
    servers: Servers,
    fleet: Option<Fleet>,
    sessions: Vec<Life>,
}

/// The true life of a session.
#[derive(Clone)]
pub struct Life {
    pub id: String,
    pub stages: Arc<Vec<(Duration, Session)>>,
}

/// The replicas. A replica that stops is replaced.
pub type Servers = Arc<Mutex<Vec<Arc<Server>>>>;

impl World {
    fn new(seed: u64, kind: Kind) -> Self {
        let mut rng = Rng::with_seed(seed);
        let vendor = Vendor::new();
        // A status without rank hides two faults. Nobody can notice that an answer is outdated and
        // shows such a status again. If half of the body is missing, nobody can infer the rank.
        let has_unknown = rng.bool();
        let sessions = (0..rng.usize(1..=3))
            .map(|number| {
                let id = format!("session-{number}");
                let stages = life(&mut rng, &id, has_unknown);
                vendor.stages(&id, stages.clone());
                Life { id, stages: Arc::new(stages) }
            })
            .collect();
        vendor.has_quota.store(true, Ordering::Relaxed);
        *vendor.trickster.lock().unwrap() =
            Some(trickster(rng.fork(), !has_unknown, kind == Kind::Fleet));
        // The list must not depend on the order of requests, which the poison changes.
        *vendor.lister.lock().unwrap() = (!seed.is_multiple_of(4)).then(|| hints::lister(seed));
        let fleet = (kind == Kind::Fleet).then(|| Fleet::new(Rng::with_seed(seed ^ 1)));
        let size = fleet.as_ref().map_or(2, Fleet::size);
        let new = |place| Arc::new(server(&vendor, fleet.as_ref(), place));
        let servers = Arc::new(Mutex::new((0..size).map(new).collect()));
        let poison_rng = Rng::with_seed(!seed);
        Self { rng, poison_rng, vendor, servers, fleet, sessions }
    }

    async fn play(mut self, is_poisoned: bool) -> Result<Told, String> {
        let owned = self.rng.bool();
        if owned {
            let owners = vec!["Bearer owner".to_owned()];
            self.vendor.owners.lock().unwrap().insert(self.sessions[0].id.clone(), owners);
        }
        let mut watchers = tokio::task::JoinSet::new();
        for _ in 0..self.rng.usize(1..=4) {
            let life = self.rng.choice(&self.sessions).unwrap().clone();
            watchers.spawn(watch(self.rng.fork(), self.servers.clone(), life));
        }
        let desk =
            desk::follow(self.rng.fork(), self.servers.clone(), self.sessions.clone(), is_poisoned);
        watchers.spawn(desk);
        let mut sufferers = tokio::task::JoinSet::new();
        if is_poisoned {
            let active = Session { upstream_status: "active".to_owned(), ..Session::default() };
            self.vendor.stages(poison::POISON, vec![(Duration::ZERO, active)]);
            for _ in 0..3 {
                sufferers.spawn(poison::suffer(self.poison_rng.fork(), self.servers.clone()));
            }
        }
        if owned {
            let id = self.sessions[0].id.clone();
            watchers.spawn(pry(self.rng.fork(), self.servers.clone(), id));
        }
        let (vendor, servers) = (self.vendor.clone(), self.servers.clone());
        let mut restarts = Box::pin(restart(self.rng.fork(), vendor, servers, self.fleet.clone()));
        let mut disturbances = Box::pin(fleet::disturb(self.fleet.clone()));
        let lives = self.sessions.clone();
        let calls = hints::call_back(self.rng.fork(), self.servers.clone(), lives);
        watchers.spawn(calls);
        let calm = Duration::from_hours(3);
        let told = timeout(calm, async {
            let mut told = Told::default();
            loop {
                tokio::select! {
                    () = &mut restarts => unreachable!("restarts go on for ever"),
                    () = &mut disturbances => unreachable!("they wait for ever"),
                    ended = watchers.join_next() => match ended {
                        Some(ended) => {
                            let Told { messages, delays, .. } = ended.unwrap()?;
                            told.messages += messages;
                            told.delays.extend(delays);
                        }
                        None => return Ok::<_, String>(told),
                    }
                }
            }
        });
        let mut told = told.await.map_err(|_| "a watch does not come to its end".to_owned())??;
        told.listed = self.vendor.listed.lock().unwrap().len();
        check_frugal(&self.vendor, self.fleet.as_ref().map_or(2, Fleet::size))?;
        hints::check_frugal(&self.vendor)?;
        Ok(told)
    }
}

/// A watcher that leaves, returns, stalls and changes servers until the session is over.
async fn watch(mut rng: Rng, servers: Servers, life: Life) -> Result<Told, String> {
    let start = Instant::now();
    let Life { id, stages } = life;
    let own = stages.iter().map(|(_, session)| to_proto(session.clone())).collect();
    let mut ledger = Ledger::of(own);
    let mut told = Told::default();
    sleep(Duration::from_secs(rng.u64(0..100))).await;
    while !ledger.is_over {
        let server = rng.choice(&*servers.lock().unwrap()).unwrap().clone();
        let mut begin = ledger.begin();
        let message = WatchSessionRequest {
            resume_token: ledger.resume_token.clone(),
            heartbeat_interval: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            follow_after_end: rng.bool().then_some(prost_types::Duration { seconds: 30, nanos: 0 }),
            ..request::watch(&id)
        };
        let opened = server.watch_as("owner", message).await;
        drop(server);
        let mut watcher = match opened {
            Ok(watcher) => watcher,
            Err(status) if is_temporary(&status, begin) => {
                sleep(Duration::from_secs(rng.u64(1..5))).await;
                continue;
            }
            Err(status) => return Err(format!("the watch cannot start: {status}")),
        };
        let is_calm = start.elapsed() > CALM_AFTER;
        let patience =
            if is_calm { Duration::from_hours(1) } else { Duration::from_secs(rng.u64(1..200)) };
        let leaves_at = Instant::now() + patience;
        loop {
            if !is_calm && rng.u8(0..20) == 0 {
                sleep(Duration::from_secs(rng.u64(1..150))).await;
            }
            let asked_at = Instant::now();
            let next = tokio::time::timeout_at(leaves_at, watcher.next()).await;
            let has_waited = asked_at.elapsed() > Duration::ZERO;
            match next {
                Err(_) => break,
                Ok(Ok(message)) => {
                    told.messages += 1;
                    ledger.enter(begin, &message)?;
                    if begin == Begin::Under && has_waited && !message.transitions.is_empty() {
                        let status = message.session.as_ref().map(proto::Session::status);
                        // All unknown statuses look alike, so their beginnings are not known.
                        let named = status.filter(|status| *status != SessionStatus::Unspecified);
                        let stage = stages.iter().find(|(_, session)| {
                            named.is_some_and(|named| session.status() as i32 == named as i32)
                        });
                        told.delays
                            .extend(stage.map(|(at, _)| start.elapsed().saturating_sub(*at)));
                    }
                    begin = Begin::Under;
                }
                Ok(Err(end)) => {
                    ledger.end(&end)?;
                    if matches!(&end, End::Error(status) if !is_temporary(status, Begin::Under)) {
                        return Err(format!("the watch ended with {end:?}"));
                    }
                    break;
                }
            }
        }
    }
    ledger.check_against(&statuses(&stages))?;
    Ok(told)
}

/// The statuses of a life.
fn statuses(stages: &[(Duration, Session)]) -> Vec<i32> {
    let mut statuses: Vec<i32> =
        stages.iter().map(|(_, session)| session.status() as i32).collect();
    statuses.dedup();
    statuses
}

/// Whether a client retries. At the start of a stream, INTERNAL, UNKNOWN and `NOT_FOUND` may come
/// from a fault of the vendor, so the client retries. Later in a stream it does not.
pub fn is_temporary(status: &tonic::Status, begin: Begin) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => true,
        Code::Internal | Code::Unknown | Code::NotFound => begin != Begin::Under,
        _ => false,
    }
}

/// A client that may not read the session, and retries again and again.
async fn pry(mut rng: Rng, servers: Servers, id: String) -> Result<Told, String> {
    for _ in 0..20 {
        sleep(Duration::from_secs(rng.u64(1..60))).await;
        let server = rng.choice(&*servers.lock().unwrap()).unwrap().clone();
        if server.watch_as("stranger", request::watch(&id)).await.is_ok() {
            return Err("a stranger saw the session".to_owned());
        }
    }
    Ok(Told::default())
}

/// A server that reads the list however few sessions it polls.
fn server(vendor: &Arc<Vendor>, fleet: Option<&Fleet>, place: usize) -> Server {
    Server::with(vendor, |feed, _| {
        feed.list_advantage = 0.0;
        if let Some(fleet) = fleet {
            feed.fleet = fleet.polls(place, vendor.clock);
        }
    })
}

/// Replaces servers. Some drain, and some just stop.
async fn restart(mut rng: Rng, vendor: Arc<Vendor>, servers: Servers, fleet: Option<Fleet>) {
    loop {
        sleep(Duration::from_secs(rng.u64(20..400))).await;
        let place = rng.usize(0..servers.lock().unwrap().len());
        let new = Arc::new(server(&vendor, fleet.as_ref(), place));
        let old = std::mem::replace(&mut servers.lock().unwrap()[place], new);
        if rng.bool() {
            old.service.watches.drain();
        }
    }
}

/// Checks the intervals of polls. Servers poll a session with one credential at most once a second
/// each, because an unconfirmed answer is checked after a second. On average there is at
/// most one poll in two seconds, not counting those at the start of a watch.
fn check_frugal(vendor: &Vendor, servers: usize) -> Result<(), String> {
    let asked = vendor.asked.lock().unwrap();
    let mut by_session: HashMap<_, Vec<Instant>> = HashMap::new();
    for (at, id, credential) in &*asked {
        by_session.entry((id, credential)).or_default().push(*at);
    }
    by_session.retain(|(id, _), _| *id != poison::POISON);
    for ((id, credential), times) in by_session {
        let (first, last) = (times[0], times[times.len() - 1]);
        let span = last.duration_since(first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let count = times.len() as f64;
        // There are at most four watchers, which start every few seconds at worst.
        #[expect(clippy::cast_precision_loss, reason = "small")]
        if count > 60.0 + servers as f64 * span {
            return Err(format!("{count} questions about {id} by {credential} in {span} s"));
        }
    }
    Ok(())
}
