//! Applies hints to the state of a poll: those of the vendor's list, and those of its callback.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Poller, Record};
use crate::{
    feed::{
        hint::HintSource, metric, poll_interval::JITTER, poll_result::PollResult,
        revision::Revision, settings::Settings,
    },
    model::{Comparison, ListedSession},
};

/// The pauses after a callback until the next polls, if the first one finds no change. The vendor may
/// call back a moment before its answers show the change.
const CALLBACK_RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Which hint a reply has served.
#[derive(Clone, Copy, Debug)]
pub(super) enum Served {
    /// The hint from this source.
    By(HintSource),
    /// No hint was given.
    Routine,
    /// The hint came after the request was sent.
    Not,
}

/// An element of the vendor's list, compared with the latest answer about the session.
pub(in crate::feed) struct Observation {
    poller: Arc<Poller>,
    revision: Arc<Revision>,
    fingerprint: u64,
    comparison: Comparison,
}

impl Observation {
    pub fn new(poller: &Arc<Poller>, element: &ListedSession) -> Self {
        let revision = poller.state.borrow().revision.clone();
        let comparison = element.compared_with(&revision.session);
        let fingerprint = element.fingerprint();
        Self { poller: poller.clone(), revision, fingerprint, comparison }
    }

    /// Adds another element for the same session.
    pub fn add(&mut self, other: &Self) {
        self.comparison = self.comparison.max(other.comparison);
        self.fingerprint = self.fingerprint.rotate_left(1) ^ other.fingerprint;
    }

    /// Applies the observation. The list covers the session until then.
    pub fn apply(&self, until: Instant, stretch: f64, settings: &Settings) {
        let Self { poller, revision, fingerprint, comparison } = self;
        let is_current = Arc::ptr_eq(revision, &poller.state.borrow().revision);
        let mut record = poller.record.lock();
        // Notes come late, and no list shows them.
        let is_final = revision.session.status().is_final();
        record.listing.cover(until, if is_final { 1.0 } else { stretch });
        poller.bring_forward(&mut record, settings);
        let is_hint =
            is_current && record.listing.observe(*fingerprint, *comparison, Instant::now());
        drop(record);
        if is_hint {
            metric::count_hint(HintSource::Sweep);
            poller.hint(HintSource::Sweep);
        }
    }
}

impl Poller {
    /// Asks for the session as soon as the quota allows.
    pub fn hint(&self, source: HintSource) {
        let mut record = self.record.lock();
        if self.hint.give() {
            record.hinted_by = Some(source);
            // All replicas hear of a callback.
            if source == HintSource::Sweep {
                record.request = Some(source.name());
            }
        }
        // A hint does not shorten the backoff after failures.
        if record.failures == 0 {
            record.due_at = record.due_at.min(Instant::now());
            drop(record);
            self.rescheduled.notify_one();
        }
    }

    /// Notes that the list does not show the session any more, or cannot be read.
    pub fn uncover(&self, settings: &Settings) {
        let mut record = self.record.lock();
        if record.listing.uncover() {
            self.bring_forward(&mut record, settings);
        }
    }

    /// By how much the poll interval is stretched, because the list shows the session.
    pub fn stretch(&self) -> f64 {
        self.record.lock().listing.stretch(Instant::now())
    }

    /// Brings the next poll forward if the interval has become shorter.
    fn bring_forward(&self, record: &mut Record, settings: &Settings) {
        let status = self.state.borrow().revision.session.status();
        let stretch = record.listing.stretch(Instant::now());
        let longest = settings.intervals.of(status).mul_f64(stretch * (1.0 + JITTER));
        // After a failure, the backoff counts, or the wait for a second answer. Both are short.
        if record.trouble.is_none() && record.due_at > record.replied_at + longest {
            record.due_at = record.replied_at + longest;
            self.rescheduled.notify_one();
        }
    }

    /// The hint that the reply to a request has served. The request was made at `sent_at`.
    pub(super) fn served_hint(&self, record: &Record, sent_at: Instant) -> Served {
        match (self.hint.since(), record.hinted_by) {
            // The answer may be older than the hint.
            (Some(given_at), _) if given_at > sent_at => Served::Not,
            (_, Some(source)) => Served::By(source),
            (_, None) => Served::Routine,
        }
    }

    /// Notes the result of a poll. Returns the pause until the next request, if the hint asks for
    /// one.
    pub(super) fn settle_hint(
        &self,
        record: &mut Record,
        served: Served,
        result: PollResult,
    ) -> Option<Duration> {
        let has_changed = match result {
            PollResult::Changed => true,
            PollResult::Unchanged => false,
            PollResult::Unconfirmed
            | PollResult::Rejected
            | PollResult::Failed
            | PollResult::Ended
            | PollResult::Superseded => return None,
        };
        if has_changed {
            self.count_changes(record, served);
            record.listing.note_change();
        }
        let source = match served {
            Served::Not => return Some(Duration::ZERO),
            Served::Routine => return None,
            Served::By(source) => source,
        };
        self.hint.take();
        record.hinted_by = None;
        metric::count_served_hint(source, has_changed);
        match source {
            HintSource::Sweep => {
                self.reliability.note_hint(has_changed);
                if !has_changed {
                    record.listing.note_miss(record.replied_at);
                }
                None
            }
            HintSource::Callback => {
                let pause = CALLBACK_RETRIES.get(record.callback_misses).copied();
                let pause = pause.filter(|_| !has_changed);
                record.callback_misses = pause.map_or(0, |_| record.callback_misses + 1);
                if pause.is_some() {
                    self.hint.give();
                    record.hinted_by = Some(source);
                }
                pause
            }
        }
    }

    /// Counts the status changes of the latest revision by what made the poll find them.
    fn count_changes(&self, record: &Record, served: Served) {
        let found_by = match served {
            Served::By(source) => Some(source),
            Served::Routine | Served::Not => None,
        };
        let revision = self.state.borrow().revision.clone();
        let Some(latest) = revision.step.transitions.last() else { return };
        let age = latest.occurred_at.and_then(|time| {
            Duration::try_from(revision.observed_at.duration_since(time.to_timestamp())).ok()
        });
        metric::count_change(found_by, age);
        if record.listing.is_covered(record.replied_at) {
            match found_by {
                Some(HintSource::Sweep) => self.reliability.note_change(true),
                None => self.reliability.note_change(false),
                // The callback was faster. That says nothing about the list.
                Some(HintSource::Callback) => {}
            }
        }
    }
}
