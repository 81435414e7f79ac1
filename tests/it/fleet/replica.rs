//! A replica of a fleet: its quota, and a network to the server that may lose and delay messages.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::{
    credential::{Credential, CredentialId},
    fleet::{
        Fleet, Identity,
        account::{Account, AccountError, Answer, Question},
    },
    traffic::{
        Hint, Urgency,
        quota::{Class, Quota, Scope, Settings},
    },
};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::lua::Server;

/// The requests to the vendor: their time, and who sent them.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<(Instant, String)>>>);

impl Log {
    fn note(&self, who: &str) {
        self.0.lock().unwrap().push((Instant::now(), who.to_owned()));
    }

    pub fn since(&self, start: Instant) -> usize {
        self.0.lock().unwrap().iter().filter(|(at, _)| *at >= start).count()
    }

    /// The number of requests of each sender since then.
    pub fn shares(&self, start: Instant) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for (_, who) in self.0.lock().unwrap().iter().filter(|(at, _)| *at >= start) {
            *shares.entry(who.clone()).or_default() += 1;
        }
        shares
    }

    /// Checks that no window of a second holds more than `quota` requests.
    #[track_caller]
    pub fn assert_never_above(&self, quota: usize, what: &str) {
        let log = self.0.lock().unwrap();
        for window in log.windows(quota + 1) {
            let length = window[quota].0 - window[0].0;
            let at =
                |index: usize| log[0].0.duration_since(log[0].0) + (window[index].0 - log[0].0);
            let length_ok = length >= Duration::from_secs(1);
            assert!(length_ok, "{what}: {length:?} at {:?}: {window:?}", at(0));
        }
    }
}

/// The network between a replica and the server, and whether the replica's process runs.
#[derive(Default)]
pub struct Link {
    pub is_cut: bool,
    pub is_stopped: bool,
    /// The longest delay of a message.
    pub delay: Duration,
    /// The share of messages that are lost.
    pub loss: f64,
    pub connection: u64,
    pub life: u64,
}

pub struct Replica {
    pub name: String,
    pub quota: Arc<Quota>,
    pub link: Arc<Mutex<Link>>,
    callers: JoinSet<()>,
    log: Log,
}

impl Replica {
    pub fn start(server: &Server, name: &str, (rps, burst): (f64, u32), log: &Log) -> Self {
        let link =
            Arc::new(Mutex::new(Link { connection: fastrand::u64(1..1 << 40), ..Link::default() }));
        let (server, way) = (server.clone(), link.clone());
        let account: Account = Arc::new(move |question| {
            let (server, link) = (server.clone(), way.clone());
            Box::pin(async move {
                while link.lock().unwrap().is_stopped {
                    sleep(Duration::from_millis(5)).await;
                }
                let answer = exchange(&server, &link, question).await;
                if answer.is_err() {
                    link.lock().unwrap().connection += 1;
                }
                while link.lock().unwrap().is_stopped {
                    sleep(Duration::from_millis(5)).await;
                }
                answer
            })
        });
        let identity = Identity {
            name: name.to_owned(),
            incarnation: fastrand::u64(1..1 << 48),
            alone_limit: Duration::from_hours(1),
        };
        let settings = Settings { rps, burst, scope: Scope::Process, queue_limit: 1000 };
        let quota = Arc::new(Quota::in_fleet(settings, Fleet::sharing(account, identity)));
        Self { name: name.to_owned(), quota, link, callers: JoinSet::new(), log: log.clone() }
    }

    pub async fn until_joined(&self) {
        let fleet = self.quota.fleet();
        while !fleet.standing().is_some_and(|standing| standing.is_joined) {
            sleep(Duration::from_millis(10)).await;
        }
        // After this, a replica gets permits.
        sleep(Duration::from_secs(4)).await;
    }

    /// Adds a caller that makes calls one after another, with a pause after each.
    pub fn add_caller(&mut self, name: &str, pause: Duration) {
        self.add(name, Class::Unary, pause, false);
    }

    /// Adds a session that is polled again and again.
    pub fn add_watch(&mut self, name: &str, is_hinted: bool) {
        self.add(name, watch(), Duration::from_millis(1), is_hinted);
    }

    fn add(&mut self, name: &str, class: Class, pause: Duration, is_hinted: bool) {
        let (quota, link, log) = (self.quota.clone(), self.link.clone(), self.log.clone());
        let name = name.to_owned();
        self.callers.spawn(async move {
            loop {
                if let (Class::Watch(urgency), true) = (&class, is_hinted) {
                    urgency.hint.give();
                }
                send(&quota, &link, &name, class.clone(), &log).await;
                sleep(pause).await;
            }
        });
    }

    /// Makes one call, and returns how long it waited.
    pub async fn call(&self, name: &str) -> Duration {
        let asked = Instant::now();
        send(&self.quota, &self.link, name, Class::Unary, &self.log).await;
        asked.elapsed()
    }

    /// Stops the calls.
    pub async fn rest(&mut self) {
        self.callers.shutdown().await;
    }

    pub fn is_joined(&self) -> bool {
        self.quota.fleet().standing().unwrap().is_joined
    }
}

async fn send(quota: &Quota, link: &Mutex<Link>, name: &str, class: Class, log: &Log) {
    loop {
        let Ok(permit) = quota.admit(caller(name), class.clone(), None).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        while link.lock().unwrap().is_stopped {
            sleep(Duration::from_millis(5)).await;
        }
        if permit.is_valid() {
            return log.note(name);
        }
    }
}

fn caller(name: &str) -> CredentialId {
    Credential::from_authorization(&format!("Bearer {name}")).unwrap().id()
}

fn watch() -> Class {
    Class::Watch(Urgency { since: Instant::now(), weight: 1.0, hint: Hint::default() })
}

/// Sends a question and waits for the answer. The server answers a delayed question even if nobody
/// waits for the answer any more.
async fn exchange(
    server: &Server,
    link: &Arc<Mutex<Link>>,
    question: Question,
) -> Result<Answer, AccountError> {
    let (sender, receiver) = oneshot::channel();
    let (server, link) = (server.clone(), link.clone());
    let delay = move |link: &Mutex<Link>| {
        let link = link.lock().unwrap();
        let is_lost = link.is_cut || fastrand::f64() < link.loss;
        let most = u64::try_from(link.delay.as_micros()).unwrap();
        (!is_lost).then(|| Duration::from_micros(fastrand::u64(0..=most)))
    };
    let connection = {
        let mut link = link.lock().unwrap();
        if link.life != server.life() {
            link.life = server.life();
            link.connection += 1;
            return Err(AccountError::Connection);
        }
        link.connection
    };
    let life = server.life();
    tokio::spawn(async move {
        let Some(before) = delay(&link) else { return drop(hold(sender).await) };
        sleep(before).await;
        sleep_until(server.paused_until()).await;
        if server.life() != life {
            return;
        }
        let answer = server.run(&question, connection);
        let Some(after) = delay(&link) else { return drop(hold(sender).await) };
        sleep(after).await;
        let _ = sender.send(answer);
    });
    receiver.await.map_err(|_| AccountError::Connection)
}

/// A lost message is noticed late, or not at all.
async fn hold<T>(value: T) -> T {
    sleep(Duration::from_secs(3)).await;
    value
}
