//! The state of a polled session, and when the next request is due.

mod accept;
mod hint;

pub(super) use accept::Sender;
pub(super) use hint::Observation;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    hint::HintSource,
    listing::Listing,
    poll_interval::jittered,
    revision::Revision,
    settings::Settings,
    state::{Overview, Published, State},
    sweep::Reliability,
    unstable_fields::UnstableFields,
};
use crate::{
    fleet::polls::Outbox,
    model::{Identity, Session, SessionId, Validator},
    trace::Links,
    traffic::Hint,
    wire::{Answer, Error, Kind},
};

/// A session becomes stale this long after the first failure if no good answer comes, even if there
/// were few failures.
const STALE_AFTER: Duration = Duration::from_secs(15);

/// A replica that hears nothing of the one that polls asks the vendor after some intervals and this
/// time.
const OVERDUE: Duration = Duration::from_secs(10);

/// A unary call returned something newer than the poll.
const UNARY: &str = "unary";

/// A polled session.
pub(super) struct Poller {
    pub state: Published,
    /// Not part of `state`: each poll changes it, and that would wake every watcher. This lock is
    /// the innermost one.
    times: Mutex<Times>,
    record: Mutex<Record>,
    /// The number of subscribers.
    pub subscribers: watch::Sender<usize>,
    /// Notified when the schedule changes.
    pub rescheduled: Notify,
    /// Whether the session has probably changed.
    pub hint: Hint,
    /// How reliable the hints of the vendor's list are, for this credential.
    reliability: Arc<Reliability>,
    /// Links the traces of the poll and of its watchers.
    pub links: Links,
    /// The own replies, for the other replicas.
    pub outbox: Option<Arc<Outbox>>,
    name: SessionId,
}

/// When the latest answers came.
struct Times {
    /// When the latest good answer came.
    observed_at: Timestamp,
    /// When the latest answer came that a unary call returned.
    unary_answer_at: Option<Timestamp>,
}

/// The record of the answers so far.
struct Record {
    validator: Validator,
    unstable_fields: UnstableFields,
    /// The number of failures in a row.
    failures: u32,
    trouble: Option<Trouble>,
    /// Whether an answer was rejected since the latest accepted one.
    has_rejected: bool,
    /// When the latest reply of any kind came.
    replied_at: Instant,
    /// When the latest reply with a session came.
    answered_at: Instant,
    /// The same times, without the replies of other replicas.
    own_replied_at: Instant,
    own_answered_at: Instant,
    /// When the latest accepted answer came.
    accepted_at: Instant,
    /// The recent time between accepted answers. While quota is scarce, it is longer than the poll
    /// interval.
    gap: Duration,
    /// When the next request is due.
    due_at: Instant,
    /// Where the latest hint comes from, until a poll has served it.
    hinted_by: Option<HintSource>,
    /// The number of polls in a row that found no change after a callback.
    callback_misses: usize,
    /// By how much the latest pause was stretched.
    stretched_by: Duration,
    /// What the vendor's list shows of the session.
    listing: Listing,
    /// Why the replica that polls should do so sooner, if it is another one.
    request: Option<&'static str>,
}

/// Why there is no good answer at present.
struct Trouble {
    since: Instant,
    cause: Arc<Error>,
}

impl Trouble {
    fn new(cause: Error) -> Self {
        Self { since: Instant::now(), cause: Arc::new(cause) }
    }
}

/// When the next steps of the poll are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// When the latest reply came.
    pub replied_at: Instant,
    /// When the next request is due.
    pub request: Instant,
    /// When this replica asks even if another one is to poll, unless that one publishes a reply first.
    pub overdue: Instant,
    /// When the session becomes stale, unless a good answer comes first.
    pub staleness: Option<Instant>,
    /// When the watches end, unless a good answer comes first.
    pub end: Option<Instant>,
}

impl Poller {
    /// Replies of other replicas to requests from before `valid_from` may be older than `answer`.
    pub fn new(
        name: SessionId,
        answer: &Answer<Arc<Session>>,
        valid_from: Instant,
        validator: Validator,
        is_closing: bool,
        reliability: Arc<Reliability>,
        settings: &Settings,
    ) -> Self {
        let Answer { content: session, observed_at } = answer.clone();
        let now = Instant::now();
        let due_at = now + jittered(settings.intervals.of(session.status()));
        let revision = Arc::new(Revision::first(session, observed_at));
        let record = Record {
            validator,
            unstable_fields: UnstableFields::new(revision.digest),
            failures: 0,
            trouble: None,
            has_rejected: false,
            replied_at: now,
            answered_at: now,
            own_replied_at: valid_from,
            own_answered_at: valid_from,
            accepted_at: now,
            gap: Duration::ZERO,
            due_at,
            hinted_by: None,
            callback_misses: 0,
            stretched_by: Duration::ZERO,
            listing: Listing::default(),
            request: None,
        };
        Self {
            state: Published::new(State { revision, trouble: None, end: None, is_closing }),
            times: Mutex::new(Times { observed_at, unary_answer_at: None }),
            record: Mutex::new(record),
            subscribers: watch::Sender::new(0),
            rescheduled: Notify::new(),
            hint: Hint::default(),
            reliability,
            links: Links::default(),
            outbox: settings.fleet.outbox(),
            name,
        }
    }

    /// Returns when the next steps are due.
    pub fn schedule(&self, settings: &Settings) -> Schedule {
        let record = self.record.lock();
        let is_stale = self.state.borrow().trouble.is_some();
        let trouble = record.trouble.as_ref().map(|trouble| trouble.since);
        let pause = record.due_at.duration_since(record.replied_at);
        Schedule {
            replied_at: record.replied_at,
            request: record.due_at,
            overdue: record.due_at + 2 * pause.max(record.gap) + OVERDUE,
            staleness: trouble.filter(|_| !is_stale).map(|since| since + STALE_AFTER),
            end: trouble.map(|since| since + settings.outage_limit),
        }
    }

    /// Tells the watchers that the session is stale.
    pub fn tell_stale(&self) {
        if let Some(trouble) = &self.record.lock().trouble {
            self.set_trouble(&trouble.cause);
        }
    }

    /// Ends the poll because the vendor has failed for too long.
    pub fn end_outage(&self) {
        if let Some(trouble) = &self.record.lock().trouble {
            self.end_with_outage(&trouble.cause);
        }
    }

    /// Notes the answer that a unary call returned. The poll must not publish an older state later.
    pub fn note_unary_answer(&self, answer: &Answer<Arc<Session>>, settings: &Settings) {
        let is_newer = {
            let mut times = self.times.lock();
            times.unary_answer_at = times.unary_answer_at.max(Some(answer.observed_at));
            answer.observed_at > times.observed_at
        };
        let is_new = is_newer && {
            let state = self.state.borrow();
            state.trouble.is_some() || *state.revision.session != *answer.content
        };
        if is_new {
            self.record.lock().request = Some(UNARY);
            self.confirm(settings);
        }
    }

    /// Brings the next poll forward, because a unary call returned something newer.
    pub fn confirm(&self, settings: &Settings) {
        let mut record = self.record.lock();
        record.due_at = record.due_at.min(record.replied_at + settings.confirm_after);
        drop(record);
        self.rescheduled.notify_one();
    }

    /// Does what another replica asks for.
    pub fn serve(&self, request: &str, settings: &Settings) {
        match request {
            UNARY => self.confirm(settings),
            name if name == HintSource::Sweep.name() => self.hint(HintSource::Sweep),
            // A later version may have more of them.
            _ => {}
        }
    }

    /// Why the replica that polls should do so sooner, if it is another one.
    pub fn take_request(&self) -> Option<&'static str> {
        self.record.lock().request.take()
    }

    /// Whether a new watch can begin with the latest answer. The answer must not be older than
    /// `at_least`.
    ///
    /// While quota is scarce and answers are rare, an answer stays fresh for longer. Otherwise each
    /// new watch would need its own request.
    pub fn is_fresh(&self, at_least: Option<Timestamp>, settings: &Settings) -> bool {
        let record = self.record.lock();
        let status = self.state.borrow().revision.session.status();
        let max_age = settings.fresh_for(status, record.gap);
        let times = self.times.lock();
        record.trouble.is_none()
            && record.accepted_at.elapsed() <= max_age
            && Some(times.observed_at) >= at_least.max(times.unary_answer_at)
    }

    /// When the latest good answer came, unless a unary call returned a newer one.
    pub fn up_to_date_at(&self) -> Option<Timestamp> {
        let times = self.times.lock();
        Some(times.observed_at).filter(|observed_at| Some(*observed_at) >= times.unary_answer_at)
    }

    /// When the latest good answer came.
    pub fn observed_at(&self) -> Timestamp {
        self.times.lock().observed_at
    }

    /// Why there is no good answer at present.
    pub fn trouble(&self) -> Option<Arc<Error>> {
        self.record.lock().trouble.as_ref().map(|trouble| trouble.cause.clone())
    }

    /// Whether a second answer must confirm the latest one.
    pub fn is_unconfirmed(&self) -> bool {
        let record = self.record.lock();
        record.trouble.is_some() && record.failures == 0
    }

    /// The session's identity, once an answer had an id.
    pub fn identity(&self) -> Option<Identity> {
        self.record.lock().validator.identity()
    }

    pub fn overview(&self, session: SessionId) -> Overview {
        // Before the state: whoever locks both locks the record first.
        let is_listed = self.record.lock().listing.is_covered(Instant::now());
        let state = self.state.borrow();
        Overview {
            session,
            status: state.revision.session.status(),
            watchers: *self.subscribers.borrow(),
            observed_at: self.observed_at(),
            is_stale: state.trouble.is_some(),
            is_listed,
        }
    }

    /// Notes when a good answer came. The time never goes back, even if the clock does.
    fn note_answer(&self, observed_at: Timestamp) {
        let mut times = self.times.lock();
        times.observed_at = times.observed_at.max(observed_at);
    }

    /// Tells the watchers about an outage. Wakes them only once for each outage. A later cause
    /// replaces the earlier one without waking them.
    fn set_trouble(&self, cause: &Arc<Error>) {
        self.state.send_if_modified(|state| state.trouble.replace(cause.clone()).is_none());
    }

    fn end(&self, error: Error) {
        self.state.send_modify(|state| state.end = Some(Arc::new(error)));
    }

    /// Ends the poll with `Unavailable`, whatever caused the outage.
    fn end_with_outage(&self, cause: &Error) {
        self.end(Error { kind: Kind::Unavailable, ..cause.clone() });
    }
}
