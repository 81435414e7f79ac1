//! A world for watches, on paused time and without sockets: a vendor with scripted sessions,
//! servers that poll it, and watchers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gotoassist_grpc::{
    clock::Clock,
    config::UpstreamConfig,
    credential::Credential,
    feed::{Ask, BoxedListReply, BoxedReply, Keep, Key, List, ListAsk, Reply, Settings},
    grpc::{caller::Callers, watch},
    model::{ListedSession, Session},
    proto::WatchSessionRequest,
    traffic,
    traffic::quota::{self, Class, Quota, Scope},
    wire::{Answer, Error, Kind},
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, Status};

pub use super::{
    body,
    watcher::{End, Watcher},
};
use crate::kit::request::{self, authorized};
pub use crate::kit::server::Server;

/// The start time of every world.
pub const DAWN: &str = "2026-01-01T00:00:00Z";

/// How long the vendor takes to answer.
const LATENCY: Duration = Duration::from_millis(20);

/// No test waits longer than this virtual time.
pub const PATIENCE: Duration = Duration::from_hours(48);

/// The simulated vendor.
pub struct Vendor {
    pub clock: Clock,
    start: Instant,
    lives: Mutex<HashMap<String, Vec<(Duration, Session)>>>,
    tricks: Mutex<HashMap<String, VecDeque<Trick>>>,
    servers: AtomicUsize,
    /// Chooses a trick for each request without a trick from [`Vendor::play`].
    pub trickster: Mutex<Option<Trickster>>,
    /// Every request: its time, session and credential.
    pub asked: Mutex<Vec<(Instant, String, String)>>,
    /// Whether each server has a quota, as in production.
    pub has_quota: AtomicBool,
    /// Chooses how each reading of the list goes. Without it, the servers do not sweep.
    pub lister: Mutex<Option<Lister>>,
    /// Every reading of the list: its time and credential.
    pub listed: Mutex<Vec<(Instant, String)>>,
    /// Which credentials may read a session, if not all.
    pub owners: Mutex<HashMap<String, Vec<String>>>,
}

/// Chooses how a reading of the list goes.
pub type Lister = Box<dyn FnMut() -> Listing + Send>;

/// How a reading of the list goes.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// How far the list is behind the sessions' own answers.
    pub lag: Duration,
    pub takes: Duration,
    /// Changes each element.
    pub alter: Option<fn(&mut ListedSession)>,
    /// Whether every second session is missing.
    pub lacks_some: bool,
    /// Whether each session is shown a second time, with the content of another one.
    pub is_doubled: bool,
    /// How it ends, if not well.
    pub failure: Option<Kind>,
}

/// Takes the server that asks, the session, and the credential.
pub type Trickster = Box<dyn FnMut(usize, &str, &str) -> Trick + Send>;

/// A wrong answer that the vendor gives once.
#[derive(Clone, Debug)]
pub enum Trick {
    /// Gives the right answer.
    Honest,
    Fail(Kind),
    /// Fails with this error.
    Refuse(Error),
    /// Gives the session with changes.
    Body(fn(&mut Session)),
    /// Gives the answer of this long ago.
    OutOfDate(Duration),
    /// Takes this long.
    Slow(Duration),
    /// Triggers a bug in the service.
    Panic,
}

impl Vendor {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::anchored(dawn()),
            start: Instant::now(),
            lives: Mutex::default(),
            tricks: Mutex::default(),
            trickster: Mutex::default(),
            servers: AtomicUsize::new(0),
            asked: Mutex::default(),
            lister: Mutex::default(),
            listed: Mutex::default(),
            has_quota: AtomicBool::new(false),
            owners: Mutex::default(),
        })
    }

    /// A session that has these statuses from these seconds on, with the vendor's timestamps.
    pub fn life(&self, id: &str, statuses: &[(u64, &str)]) {
        let mut session = Session { session_id: id.to_owned(), ..Session::default() };
        let mut stages = Vec::new();
        for (second, status) in statuses {
            (*status).clone_into(&mut session.upstream_status);
            let at = Some(after_dawn(Duration::from_secs(*second)).into());
            match *status {
                "waiting" => session.started_at = session.started_at.or(at),
                "active" => session.customer_joined_at = session.customer_joined_at.or(at),
                "complete" | "abandoned" => session.ended_at = at,
                _ => {}
            }
            stages.push((Duration::from_secs(*second), session.clone()));
        }
        self.stages(id, stages);
    }

    /// A session that has these contents from these times on.
    pub fn stages(&self, id: &str, stages: Vec<(Duration, Session)>) {
        self.lives.lock().unwrap().insert(id.to_owned(), stages);
    }

    /// Changes the session from `second` on.
    pub fn alter(&self, id: &str, second: u64, alter: impl FnOnce(&mut Session)) {
        let mut lives = self.lives.lock().unwrap();
        let stages = lives.get_mut(id).unwrap();
        let at = Duration::from_secs(second);
        let place = stages.partition_point(|(from, _)| *from <= at);
        let mut session = stages[place - 1].1.clone();
        alter(&mut session);
        stages.insert(place, (at, session));
    }

    /// Sets tricks for the next answers about a session, one each.
    pub fn play(&self, id: &str, tricks: impl IntoIterator<Item = Trick>) {
        self.tricks.lock().unwrap().entry(id.to_owned()).or_default().extend(tricks);
    }

    /// How many requests there were for a session.
    pub fn count(&self, id: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(_, asked, _)| asked == id).count()
    }

    /// The session at `age`.
    pub fn session_at(&self, id: &str, age: Duration) -> Option<Session> {
        let lives = self.lives.lock().unwrap();
        let stages = lives.get(id)?;
        let stage = stages.iter().rev().find(|(from, _)| *from <= age).or(stages.first());
        stage.map(|(_, session)| session.clone())
    }

    async fn list(&self, credential: &Credential, mut keep: Keep) -> Result<usize, Error> {
        let credential = credential.authorization().unwrap_or_default().to_owned();
        self.listed.lock().unwrap().push((Instant::now(), credential.clone()));
        let choose = || self.lister.lock().unwrap().as_mut().map(|choose| choose());
        let listing = choose().unwrap_or_default();
        sleep(LATENCY + listing.takes).await;
        let age = self.start.elapsed().saturating_sub(listing.lag);
        let mut ids: Vec<_> = self.lives.lock().unwrap().keys().cloned().collect();
        ids.sort();
        let mut first = None;
        for (place, id) in ids.iter().enumerate() {
            let owners = self.owners.lock().unwrap().get(id).cloned();
            let is_visible = owners.is_none_or(|owners| owners.contains(&credential));
            let Some(session) = self.session_at(id, age).filter(|_| is_visible) else { continue };
            let mut element = ListedSession { session, start_token: Some(id.clone()) };
            element.session.notes = None;
            if element.session.status() == gotoassist_grpc::model::Status::NotStarted {
                element.session.session_id.clear();
            }
            if let Some(alter) = listing.alter {
                alter(&mut element);
            }
            if listing.is_doubled {
                let mixed = first.get_or_insert_with(|| element.session.clone()).clone();
                keep(ListedSession { session: mixed, ..element.clone() });
            }
            if !(listing.lacks_some && place % 2 == 0) {
                keep(element);
            }
        }
        listing.failure.map_or(Ok(1_000), |kind| Err(Error::new(kind)))
    }

    async fn answer(&self, server: usize, key: Key) -> Reply {
        let id = key.session.as_str().to_owned();
        let credential = key.credential.authorization().unwrap_or_default().to_owned();
        self.asked.lock().unwrap().push((Instant::now(), id.clone(), credential.clone()));
        let trick = self.tricks.lock().unwrap().get_mut(&id).and_then(VecDeque::pop_front);
        let invent = || {
            let mut trickster = self.trickster.lock().unwrap();
            trickster.as_mut().map_or(Trick::Honest, |invent| invent(server, &id, &credential))
        };
        let mut lag = Duration::ZERO;
        let mut alter: fn(&mut Session) = |_| {};
        match trick.unwrap_or_else(invent) {
            Trick::Honest => sleep(LATENCY).await,
            Trick::Slow(time) => sleep(time).await,
            Trick::Panic => panic!("a defect"),
            Trick::OutOfDate(time) => {
                sleep(LATENCY).await;
                lag = time;
            }
            Trick::Body(change) => {
                sleep(LATENCY).await;
                alter = change;
            }
            Trick::Fail(kind) => {
                sleep(LATENCY).await;
                return Err(Error::new(kind));
            }
            Trick::Refuse(error) => {
                sleep(LATENCY).await;
                return Err(error);
            }
        }
        let owners = self.owners.lock().unwrap().get(&id).cloned();
        if owners.is_some_and(|owners| !owners.contains(&credential)) {
            return Err(Error::new(Kind::NotFound));
        }
        let session = self.session_at(&id, self.start.elapsed().saturating_sub(lag));
        let mut session = session.ok_or(Error::new(Kind::NotFound))?;
        alter(&mut session);
        Ok(Answer { content: Arc::new(session), observed_at: self.clock.now() })
    }
}

/// A client for unary calls, which no test here uses.
pub fn unconnected_client(clock: Clock) -> traffic::Client {
    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        upstream: UpstreamConfig,
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Arguments { upstream } =
        clap::Parser::parse_from(["", "--upstream-url", "http://127.0.0.1:9"]);
    traffic::Client::new(&upstream, None, clock).unwrap()
}

impl Server {
    pub fn new(vendor: &Arc<Vendor>) -> Self {
        Self::with(vendor, |_, _| {})
    }

    /// A server with changed settings.
    pub fn with(
        vendor: &Arc<Vendor>,
        alter: impl FnOnce(&mut Settings, &mut watch::Settings),
    ) -> Self {
        let asked = vendor.clone();
        let number = vendor.servers.fetch_add(1, Ordering::Relaxed);
        let limits =
            quota::Settings { rps: 8.0, burst: 8, scope: Scope::Process, queue_limit: 1_000 };
        let quota = vendor.has_quota.load(Ordering::Relaxed).then(|| Quota::new(limits));
        let quota = Arc::new(quota);
        let list_quota = quota.clone();
        let read = move |key: Key, ask: Ask| {
            let (vendor, quota) = (asked.clone(), quota.clone());
            Box::pin(async move {
                if let Some(quota) = &*quota {
                    let class = match ask {
                        Ask::First(_) => Class::Unary,
                        Ask::Next(urgency, _) => Class::Watch(urgency),
                    };
                    quota.admit(key.credential.id(), class, None).await?;
                }
                vendor.answer(number, key).await
            }) as BoxedReply
        };
        let listing = vendor.clone();
        let list = move |ask: ListAsk, keep: Keep| {
            let (vendor, quota) = (listing.clone(), list_quota.clone());
            Box::pin(async move {
                if let Some(quota) = &*quota {
                    let class = Class::Watch(ask.urgency);
                    quota.admit(ask.credential.id(), class, None).await?;
                }
                vendor.list(&ask.credential, keep).await
            }) as BoxedListReply
        };
        let has_list = vendor.lister.lock().unwrap().is_some();
        let list = has_list.then(|| Box::new(list) as Box<List>);
        let client = unconnected_client(vendor.clock);
        Self::assemble(client, read, list, Callers::Own, vendor.clock, alter)
    }

    /// Watches `id` with the token `t`.
    pub async fn watch(&self, id: &str) -> Watcher {
        self.watch_with(request::watch(id)).await.unwrap()
    }

    pub async fn resume(&self, id: &str, token: &str) -> Watcher {
        let message = WatchSessionRequest { resume_token: token.to_owned(), ..request::watch(id) };
        self.watch_with(message).await.unwrap()
    }

    pub async fn watch_with(&self, message: WatchSessionRequest) -> Result<Watcher, Status> {
        self.watch_as("t", message).await
    }

    pub async fn watch_as(
        &self,
        token: &str,
        message: WatchSessionRequest,
    ) -> Result<Watcher, Status> {
        self.watch_request(authorized(token, message)).await
    }

    pub async fn watch_request(
        &self,
        request: Request<WatchSessionRequest>,
    ) -> Result<Watcher, Status> {
        let stream = timeout(PATIENCE, self.client().watch_session(request)).await.unwrap()?;
        Ok(Watcher { stream: stream.into_inner() })
    }
}

pub fn dawn() -> Timestamp {
    DAWN.parse().unwrap()
}

pub fn after_dawn(time: Duration) -> Timestamp {
    dawn() + SignedDuration::try_from(time).unwrap()
}

/// The time `second` seconds after the start, as a message.
pub fn second(second: u64) -> prost_types::Timestamp {
    let dawn = dawn().as_second();
    prost_types::Timestamp { seconds: dawn + i64::try_from(second).unwrap(), nanos: 0 }
}
