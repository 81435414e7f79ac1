//! What stays awake: one poll per watched session and credential, shared by all its watchers.
//!
//! The feed is given a function to read with, so it knows neither HTTP nor gRPC and runs on paused
//! time. Watchers see the newest state, not a queue: what a slow one missed it finds in the
//! [`History`](crate::model::History).

mod begin;
mod churn;
mod effect;
mod metric;
mod newcomer;
mod pace;
mod poll;
mod poller;
mod reading;
mod subscription;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

pub use pace::Pace;
pub use reading::{Difference, Reading};
pub use subscription::{Subscriber, Subscription, View};

use crate::{
    clock::Clock,
    credential::{Credential, CredentialId},
    model::{Session, SessionId, Status},
    trace::Cause,
    traffic::{Identities, Terms, Urgency},
    wire,
    wire::Answer,
};
use poller::Poller;

/// Which session, and by whose right. Nothing is ever shared between two credentials.
#[derive(Clone, Debug)]
pub struct Key {
    /// By whose right.
    pub credential: Credential,
    /// Which session.
    pub session: SessionId,
}

/// How the feed asks the vendor.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The first answer of a watch, which somebody waits for: like a unary call.
    First(Terms),
    /// Any later one.
    Next(Urgency, Cause),
}

/// What an [`Ask`] gives.
pub type Reply = Result<Answer<Arc<Session>>, wire::Error>;

/// A [`Reply`] to come.
pub type BoxedReply = Pin<Box<dyn Future<Output = Reply> + Send>>;

type Read = dyn Fn(Key, Ask) -> BoxedReply + Send + Sync;

/// How polls behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a session is asked for while there is quota to spare.
    pub pace: Pace,
    /// How soon a doubtful answer (an earlier status, a 404) is checked by a second one.
    pub confirm_after: Duration,
    /// After how many failures in a row the watchers are told that the session is stale; sooner if
    /// there has been no good answer for long.
    pub stale_after: u32,
    /// How long the vendor may fail before the watches end.
    pub outage_limit: Duration,
    /// How long a poll outlives its last watcher, for those who reconnect.
    pub linger: Duration,
}

/// All polls of the process.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    read: Box<Read>,
    settings: Settings,
    clock: Clock,
    identities: Identities,
    pollers: Mutex<Pollers>,
}

#[derive(Default)]
struct Pollers {
    by_key: HashMap<(CredentialId, SessionId), Arc<Poller>>,
    is_closing: bool,
}

/// What is known of a session at a moment.
#[derive(Debug)]
pub struct State {
    /// The latest reading.
    pub reading: Arc<Reading>,
    /// Why there is no good answer at present, once that has lasted.
    pub trouble: Option<Arc<wire::Error>>,
    /// Why there will be no more readings.
    pub end: Option<Arc<wire::Error>>,
    /// Whether the feed closes, so that watchers are to go elsewhere.
    pub is_closing: bool,
}

/// What the status page and the metrics show of one poll.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Which session.
    pub session: SessionId,
    /// The status seen last.
    pub status: Status,
    /// How many watch it.
    pub watchers: usize,
    /// When the latest good answer came.
    pub observed_at: Timestamp,
    /// Whether the vendor has failed for a while.
    pub is_stale: bool,
}

impl Feed {
    /// A feed that asks the vendor by `read`, and tells `identities` what it watches.
    pub fn new(
        read: impl Fn(Key, Ask) -> BoxedReply + Send + Sync + 'static,
        settings: Settings,
        clock: Clock,
        identities: Identities,
    ) -> Self {
        metric::describe();
        let (read, pollers) = (Box::new(read), Mutex::default());
        Self { shared: Arc::new(Shared { read, settings, clock, identities, pollers }) }
    }

    /// A unary call was told this: no watch is to be behind it.
    pub fn told_elsewhere(&self, key: &Key, answer: &Answer<Arc<Session>>) {
        if let Some(poller) = self.running(key) {
            poller.told_elsewhere(answer, &self.shared.settings);
        }
    }

    /// The latest answer of a running poll, if it is not older than `max_staleness`.
    pub fn latest(&self, key: &Key, max_staleness: Duration) -> Option<Answer<Arc<Session>>> {
        let poller = self.running(key)?;
        let observed_at = poller.up_to_date_at()?;
        let age = Duration::try_from(self.shared.clock.now().duration_since(observed_at));
        let state = poller.state.borrow();
        let is_good = age.unwrap_or_default() <= max_staleness;
        is_good.then(|| Answer { content: state.reading.session.clone(), observed_at })
    }

    /// What is polled at present.
    pub fn overview(&self) -> Vec<Overview> {
        let pollers = self.shared.pollers();
        pollers
            .by_key
            .iter()
            .map(|((_, session), poller)| poller.overview(session.clone()))
            .collect()
    }

    /// Tells all watchers, also those to come, that they are to go elsewhere.
    pub fn close(&self) {
        let mut pollers = self.shared.pollers();
        pollers.is_closing = true;
        for poller in pollers.by_key.values() {
            poller.state.send_modify(|state| state.is_closing = true);
        }
    }

    /// The poll of a session, if there is one that goes on.
    fn running(&self, key: &Key) -> Option<Arc<Poller>> {
        let pollers = self.shared.pollers();
        let poller = pollers.by_key.get(&key.index())?;
        let is_open = poller.state.borrow().end.is_none();
        is_open.then(|| poller.clone())
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("pollers", &self.shared.pollers().by_key.len()).finish()
    }
}

impl Shared {
    fn pollers(&self) -> MutexGuard<'_, Pollers> {
        self.pollers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn index(&self) -> (CredentialId, SessionId) {
        (self.credential.id(), self.session.clone())
    }
}
