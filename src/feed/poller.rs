//! One session that is polled: what is known of it, and when the next answer is due.

mod accept;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{Overview, Reading, Settings, State, churn::Churn, effect::outage, pace::jittered};
use crate::{
    model::{Identity, Session, SessionId, Validator},
    trace::Links,
    wire,
    wire::Answer,
};

/// Without a good answer for so long after a failure, the session is stale, however few the
/// failures are.
const STALE_LIMIT: Duration = Duration::from_secs(15);

/// One session that is being polled.
pub(super) struct Poller {
    pub state: watch::Sender<State>,
    /// When the latest good answer came, in nanoseconds since 1970. Not in `state`, since it moves
    /// with every poll, and would wake every watcher.
    observed_at: AtomicI64,
    /// When the latest answer came that a unary call was told, in the same form.
    told_elsewhere: AtomicI64,
    record: Mutex<Record>,
    /// How many subscribers there are.
    pub subscribers: watch::Sender<usize>,
    /// The next request is due at another time.
    pub rescheduled: Notify,
    /// Its watchers as the traces know them.
    pub links: Links,
    name: SessionId,
}

/// What the answers so far amount to.
struct Record {
    validator: Validator,
    churn: Churn,
    /// How many times in a row the vendor failed.
    failures: u32,
    trouble: Option<Trouble>,
    /// Whether an answer was not believed since the latest one that was.
    has_disbelieved: bool,
    /// When the latest answer of any kind came.
    answered_at: Instant,
    /// When the latest one came that showed a session.
    shown_at: Instant,
    /// When the latest answer came that was believed.
    believed_at: Instant,
    /// How long believed answers were apart of late: longer than planned while quota is scarce.
    gap: Duration,
    /// When the next request is due.
    due_at: Instant,
}

/// Why there is no good answer at present.
struct Trouble {
    since: Instant,
    cause: Arc<wire::Error>,
}

/// When what happened, and is to happen next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// The latest answer came.
    pub answer: Instant,
    /// The next request.
    pub request: Instant,
    /// The session is stale, unless a good answer comes before.
    pub staleness: Option<Instant>,
    /// The watches end, unless a good answer comes before.
    pub end: Option<Instant>,
}

impl Poller {
    pub fn new(
        name: SessionId,
        answer: Answer<Arc<Session>>,
        validator: Validator,
        is_closing: bool,
        settings: &Settings,
    ) -> Self {
        let Answer { content: session, observed_at, .. } = answer;
        let now = Instant::now();
        let due_at = now + jittered(settings.pace.interval(session.status()));
        let reading = Arc::new(Reading::first(session, observed_at));
        let churn = Churn::beginning_with(reading.digest);
        let (state, _) = watch::channel(State { reading, trouble: None, end: None, is_closing });
        let poller = Self {
            state,
            observed_at: AtomicI64::new(i64::MIN),
            told_elsewhere: AtomicI64::new(i64::MIN),
            record: Mutex::new(Record {
                validator,
                churn,
                failures: 0,
                trouble: None,
                has_disbelieved: false,
                answered_at: now,
                shown_at: now,
                believed_at: now,
                gap: Duration::ZERO,
                due_at,
            }),
            subscribers: watch::channel(0).0,
            rescheduled: Notify::new(),
            links: Links::default(),
            name,
        };
        poller.advance(observed_at);
        poller
    }

    /// What is to happen next.
    pub fn schedule(&self, settings: &Settings) -> Schedule {
        let record = self.record();
        let is_told = self.state.borrow().trouble.is_some();
        let trouble = record.trouble.as_ref().map(|trouble| trouble.since);
        Schedule {
            answer: record.answered_at,
            request: record.due_at,
            staleness: trouble.filter(|_| !is_told).map(|since| since + STALE_LIMIT),
            end: trouble.map(|since| since + settings.outage_limit),
        }
    }

    /// There has been no good answer for too long: the watchers are to know.
    pub fn tell_stale(&self) {
        if let Some(trouble) = &self.record().trouble {
            self.tell(&trouble.cause);
        }
    }

    /// There has been no good answer for so long that the watches are to end.
    pub fn end_outage(&self) {
        let record = self.record();
        if let Some(trouble) = &record.trouble {
            self.end(outage(&trouble.cause));
        }
    }

    /// A unary call was told this. What this poll tells later must not be behind it.
    pub fn told_elsewhere(&self, answer: &Answer<Arc<Session>>, settings: &Settings) {
        self.told_elsewhere.fetch_max(nanoseconds(answer.observed_at), Ordering::AcqRel);
        let is_news = answer.observed_at > self.observed_at() && {
            let state = self.state.borrow();
            state.trouble.is_some() || *state.reading.session != *answer.content
        };
        if is_news {
            self.ask_soon(settings);
        }
    }

    /// Brings the next request forward.
    fn ask_soon(&self, settings: &Settings) {
        let mut record = self.record();
        record.due_at = record.due_at.min(record.answered_at + settings.confirm_after);
        drop(record);
        self.rescheduled.notify_one();
    }

    /// Whether its latest answer is as good as one that is asked for now, and not older than
    /// `at_least`. While quota is scarce and answers come seldom, they count as fresh for longer:
    /// otherwise each new watch would need a request of its own.
    pub fn is_fresh(&self, at_least: Option<Timestamp>, settings: &Settings) -> bool {
        let record = self.record();
        let status = self.state.borrow().reading.session.status();
        let patience = 2 * settings.pace.interval(status).max(record.gap);
        let at_least = at_least.map_or(i64::MIN, nanoseconds);
        let at_least = at_least.max(self.told_elsewhere.load(Ordering::Acquire));
        record.trouble.is_none()
            && record.believed_at.elapsed() <= patience
            && self.observed_at.load(Ordering::Acquire) >= at_least
    }

    /// When the latest good answer came, if no unary call was told a newer one.
    pub fn up_to_date_at(&self) -> Option<Timestamp> {
        let told_elsewhere = self.told_elsewhere.load(Ordering::Acquire);
        let observed_at = self.observed_at.load(Ordering::Acquire);
        (observed_at >= told_elsewhere).then(|| self.observed_at())
    }

    /// When the latest good answer came.
    pub fn observed_at(&self) -> Timestamp {
        let nanoseconds = self.observed_at.load(Ordering::Acquire);
        Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Why there is no good answer at present.
    pub fn trouble(&self) -> Option<Arc<wire::Error>> {
        self.record().trouble.as_ref().map(|trouble| trouble.cause.clone())
    }

    /// Whether the latest answer waits for a second one.
    pub fn is_doubtful(&self) -> bool {
        let record = self.record();
        record.trouble.is_some() && record.failures == 0
    }

    /// The session's identity, once an answer had an id.
    pub fn identity(&self) -> Option<Identity> {
        self.record().validator.identity()
    }

    pub fn overview(&self, session: SessionId) -> Overview {
        let state = self.state.borrow();
        Overview {
            session,
            status: state.reading.session.status(),
            watchers: *self.subscribers.borrow(),
            observed_at: self.observed_at(),
            is_stale: state.trouble.is_some(),
        }
    }

    /// Never back, whatever the clock does.
    fn advance(&self, observed_at: Timestamp) {
        self.observed_at.fetch_max(nanoseconds(observed_at), Ordering::AcqRel);
    }

    /// Tells the watchers of an outage. They are woken once for each; a later cause is for those
    /// who look anyway.
    fn tell(&self, cause: &Arc<wire::Error>) {
        self.state.send_if_modified(|state| state.trouble.replace(cause.clone()).is_none());
    }

    fn end(&self, error: wire::Error) {
        self.state.send_modify(|state| state.end = Some(Arc::new(error)));
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    fn beginning_with(cause: wire::Error) -> Self {
        Self { since: Instant::now(), cause: Arc::new(cause) }
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}
