//! What stays awake: one poll per watched session and credential, shared by all its watchers.
//!
//! The feed is given a function to read with, so it knows neither HTTP nor gRPC and runs on paused
//! time. Watchers see the newest state, not a queue: what a slow one missed it finds in the
//! [`History`](crate::model::History).

mod metric;
mod pace;
mod poll;
mod reading;
mod settle;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;

pub use pace::Pace;
pub use reading::{Difference, Reading};

use crate::{
    clock::Clock,
    model::{Session, SessionId, Status},
    rest::{self, Answer, Credential, CredentialId, Terms, Urgency},
    trace::{Cause, Links},
};

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
pub type Reply = Result<Answer<Arc<Session>>, rest::Error>;

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
    /// After how many failures in a row the watchers are told that the session is stale.
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
    pub trouble: Option<Arc<rest::Error>>,
    /// Why there will be no more readings.
    pub end: Option<Arc<rest::Error>>,
    /// Whether the feed closes, so that watchers are to go elsewhere.
    pub is_closing: bool,
}

/// What a watcher sees at a look. The state does not change as long as it is looked at.
pub struct View<'a> {
    /// What is known now.
    pub state: watch::Ref<'a, State>,
    /// When the latest good answer came that showed it.
    pub observed_at: Timestamp,
    /// How many answers came since the poll began, doubtful ones too.
    pub answers: u64,
}

/// One session that is being polled.
struct Poller {
    state: watch::Sender<State>,
    /// When the latest good answer came, in nanoseconds since 1970. Not in `state`, since it moves
    /// with every poll, and would wake every watcher.
    observed_at: AtomicI64,
    /// How many good or doubtful answers came.
    answers: AtomicU64,
    attendance: watch::Sender<Attendance>,
    /// Its watchers as the traces know them.
    links: Links,
}

/// Who is there.
#[derive(Clone, Copy, Debug, Default)]
struct Attendance {
    watchers: usize,
    /// How many of them wait for the next answer, whatever it holds.
    expecting: usize,
}

/// A place in front of a poll. The poll goes on as long as somebody has one.
pub struct Subscription {
    seat: Arc<Seat>,
    state: watch::Receiver<State>,
    is_expecting: bool,
}

/// A watcher's claim on a poll, which ends when it is dropped or given up for it.
pub struct Seat {
    poller: Arc<Poller>,
    cause: Cause,
    is_vacant: AtomicBool,
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
    /// A feed that asks the vendor by `read`.
    pub fn new(
        read: impl Fn(Key, Ask) -> BoxedReply + Send + Sync + 'static,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        metric::describe();
        let pollers = Mutex::default();
        Self { shared: Arc::new(Shared { read: Box::new(read), settings, clock, pollers }) }
    }

    /// Takes part in the poll of a session, which is started if there is none.
    ///
    /// Returns when there is a first answer. If that cannot be had, no poll is started, and the
    /// error is that of the answer.
    pub async fn subscribe(&self, key: &Key, terms: Terms) -> Result<Subscription, rest::Error> {
        if let Some(subscription) = self.join(key, &terms.cause) {
            return Ok(subscription);
        }
        let cause = terms.cause.clone();
        let answer = (self.shared.read)(key.clone(), Ask::First(terms)).await?;
        Ok(self.join_or_start(key, answer, cause))
    }

    /// The latest answer of a running poll, if it is not older than `max_staleness`.
    pub fn latest(&self, key: &Key, max_staleness: Duration) -> Option<Answer<Arc<Session>>> {
        let pollers = self.shared.pollers();
        let poller = pollers.by_key.get(&key.index())?;
        let observed_at = poller.observed_at();
        let age = Duration::try_from(self.shared.clock.now().duration_since(observed_at));
        let state = poller.state.borrow();
        let is_good = state.end.is_none() && age.unwrap_or_default() <= max_staleness;
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

    fn join(&self, key: &Key, cause: &Cause) -> Option<Subscription> {
        let pollers = self.shared.pollers();
        let poller = pollers.by_key.get(&key.index())?;
        let is_open = poller.state.borrow().end.is_none();
        is_open.then(|| Subscription::to(poller, cause.clone()))
    }

    fn join_or_start(&self, key: &Key, answer: Answer<Arc<Session>>, cause: Cause) -> Subscription {
        let mut pollers = self.shared.pollers();
        // Another watcher may have come first, and its poll may know more than this answer.
        if let Some(poller) = pollers.by_key.get(&key.index())
            && poller.state.borrow().end.is_none()
        {
            return Subscription::to(poller, cause);
        }
        let poller = Arc::new(Poller::new(answer, pollers.is_closing));
        let subscription = Subscription::to(&poller, cause);
        pollers.by_key.insert(key.index(), poller.clone());
        drop(pollers);
        poll::start(self.shared.clone(), key.clone(), poller);
        subscription
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

impl Poller {
    fn new(answer: Answer<Arc<Session>>, is_closing: bool) -> Self {
        let Answer { content: session, observed_at } = answer;
        let reading = Arc::new(Reading::first(session, observed_at));
        let (state, _) = watch::channel(State { reading, trouble: None, end: None, is_closing });
        let poller = Self {
            state,
            observed_at: AtomicI64::new(0),
            answers: AtomicU64::new(1),
            attendance: watch::channel(Attendance::default()).0,
            links: Links::default(),
        };
        poller.advance(observed_at);
        poller
    }

    fn observed_at(&self) -> Timestamp {
        let nanoseconds = self.observed_at.load(Ordering::Acquire);
        Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Never back, whatever the clock does.
    fn advance(&self, observed_at: Timestamp) {
        let nanoseconds = i64::try_from(observed_at.as_nanosecond()).unwrap_or(i64::MAX);
        self.observed_at.fetch_max(nanoseconds, Ordering::AcqRel);
    }

    fn overview(&self, session: SessionId) -> Overview {
        let state = self.state.borrow();
        Overview {
            session,
            status: state.reading.session.status(),
            watchers: self.attendance.borrow().watchers,
            observed_at: self.observed_at(),
            is_stale: state.trouble.is_some(),
        }
    }
}

impl Subscription {
    fn to(poller: &Arc<Poller>, cause: Cause) -> Self {
        poller.attendance.send_modify(|attendance| attendance.watchers += 1);
        poller.links.add(&cause);
        let is_vacant = AtomicBool::new(false);
        let seat = Arc::new(Seat { poller: poller.clone(), cause, is_vacant });
        Self { seat, state: poller.state.subscribe(), is_expecting: false }
    }

    /// Looks at what is known now. Marks it as seen, so that [`Subscription::changed`] waits for
    /// another.
    pub fn look(&mut self) -> View<'_> {
        let poller = &self.seat.poller;
        let state = self.state.borrow_and_update();
        // Nobody changes the state meanwhile, so these tell of no answer that it does not show.
        let observed_at = poller.observed_at().max(state.reading.observed_at);
        let answers = poller.answers.load(Ordering::Acquire);
        View { state, observed_at, answers }
    }

    /// Waits until there is another state.
    pub async fn changed(&mut self) {
        // The sender is in the poller, which our seat keeps, so this never fails.
        let _ = self.state.changed().await;
    }

    /// Whether [`Subscription::changed`] returns at the next answer even if it brings nothing new.
    pub fn expect_answer(&mut self, is_expecting: bool) {
        if is_expecting != self.is_expecting {
            self.is_expecting = is_expecting;
            self.seat.poller.attendance.send_modify(|attendance| {
                if is_expecting {
                    attendance.expecting += 1;
                } else {
                    attendance.expecting -= 1;
                }
            });
        }
    }

    /// The claim on the poll, for whoever may have to give it up in the watcher's stead.
    pub fn seat(&self) -> Arc<Seat> {
        self.seat.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.expect_answer(false);
        self.seat.vacate();
    }
}

impl Seat {
    /// Gives up the claim; the second time does nothing.
    pub fn vacate(&self) {
        if !self.is_vacant.swap(true, Ordering::AcqRel) {
            self.poller.links.remove(&self.cause);
            self.poller.attendance.send_modify(|attendance| attendance.watchers -= 1);
        }
    }
}
