//! Applies a reply to the state of a poll. Every reply goes through here, whether the poll or a new
//! watch asked for it. [`crate::model::validator`] decides whether an answer is accepted.

use std::{mem, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::{Poller, Record, Trouble};
use crate::{
    feed::{
        poll_interval::{backoff, jittered},
        poll_result::{ErrorClass, PollResult},
        request::Reply,
        revision::Revision,
        settings::Settings,
    },
    model::{Baseline, Digest, Rejection, Session, Validation},
    wire::{Answer, Error, Kind},
};

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::feed) enum Sender {
    /// This replica: the poll, or a new watch.
    Own,
    /// Another replica. Its replies come in the order of its requests.
    Other,
}

impl Poller {
    /// Applies the reply to a request that was sent at `sent_at`.
    pub fn accept(
        &self,
        reply: Reply,
        sent_at: Instant,
        sender: Sender,
        settings: &Settings,
    ) -> PollResult {
        let mut record = self.record.lock();
        let newer = match (sender, reply.is_ok()) {
            (Sender::Own, true) => record.answered_at,
            (Sender::Own, false) => record.replied_at,
            (Sender::Other, true) => record.own_answered_at,
            (Sender::Other, false) => record.own_replied_at,
        };
        if sent_at < newer {
            if reply.is_ok() {
                // The answer is too old to show the state of the session, but it shows that the
                // session exists.
                record.validator.note_presence();
            }
            return PollResult::Superseded;
        }
        record.replied_at = Instant::now();
        if sender == Sender::Own {
            record.own_replied_at = record.replied_at;
            if reply.is_ok() {
                record.own_answered_at = record.replied_at;
            }
        }
        let outbox = self.outbox.as_ref().filter(|_| sender == Sender::Own);
        let shared = outbox.map(|outbox| (outbox, reply.clone()));
        let served = self.served_hint(&record, sent_at);
        let (result, pause) = match reply {
            Ok(answer) => self.accept_answer(&mut record, answer, settings),
            Err(error) => self.accept_error(&mut record, error, settings),
        };
        let pause = self.settle_hint(&mut record, served, result).unwrap_or(jittered(pause));
        record.due_at = record.replied_at + pause;
        // What ends the poll may be the fault of this replica. Each of the others asks for itself.
        if let Some((outbox, reply)) = shared.filter(|_| result != PollResult::Ended) {
            // Another replica may reach the vendor. A first failure is normal.
            let hands_over = result == PollResult::Failed && record.failures > 1;
            outbox.push(reply, sent_at, hands_over);
        }
        drop(record);
        self.rescheduled.notify_one();
        result
    }

    /// Returns the result and the pause until the next request.
    fn accept_answer(
        &self,
        record: &mut Record,
        answer: Answer<Arc<Session>>,
        settings: &Settings,
    ) -> (PollResult, Duration) {
        let Answer { content: session, observed_at } = answer;
        record.answered_at = record.replied_at;
        let latest = self.state.borrow().revision.clone();
        let digest = Digest::of(&session);
        let Revision { digest: latest_digest, history, session: latest_session, .. } = &*latest;
        let baseline = Baseline { digest: latest_digest, history, session: Some(latest_session) };
        match record.validator.validate(baseline, &session, &digest) {
            Validation::Accepted => {}
            Validation::Unconfirmed => {
                let cause = Error::new(Kind::Malformed);
                record.trouble.get_or_insert_with(|| Trouble::new(cause));
                return (PollResult::Unconfirmed, settings.confirm_after);
            }
            Validation::Rejected(rejection) => {
                if !mem::replace(&mut record.has_rejected, true) {
                    self.warn(rejection);
                }
                let error = Error::new(Kind::Malformed).caused_by(rejection);
                return match self.fail(record, error, settings) {
                    (PollResult::Failed, pause) => (PollResult::Rejected, pause),
                    end => end,
                };
            }
        }
        record.has_rejected = false;
        record.failures = 0;
        record.trouble = None;
        let gap = record.replied_at.duration_since(record.accepted_at);
        record.gap = gap.saturating_sub(record.stretched_by).max(record.gap / 2);
        record.accepted_at = record.replied_at;
        record.unstable_fields.observe(&digest);
        let interval = settings.intervals.of(session.status());
        let pause = interval.mul_f64(record.listing.stretch(record.replied_at));
        record.stretched_by = pause.saturating_sub(interval);
        let changed = latest.digest.changed(&digest);
        let is_held_back = record.unstable_fields.hold_back(changed);
        let next = latest.next(session, digest, observed_at).filter(|_| !is_held_back);
        match next {
            None => {
                self.note_answer(observed_at);
                self.state.send_if_modified(|state| state.trouble.take().is_some());
                (PollResult::Unchanged, pause)
            }
            Some(revision) => {
                record.unstable_fields.note_published();
                self.publish(revision, observed_at);
                (PollResult::Changed, pause)
            }
        }
    }

    fn accept_error(
        &self,
        record: &mut Record,
        error: Error,
        settings: &Settings,
    ) -> (PollResult, Duration) {
        match ErrorClass::of(&error) {
            ErrorClass::Absent(absence) if !record.validator.confirms_absence(absence) => {
                record.failures = 0;
                record.trouble.get_or_insert_with(|| Trouble::new(error));
                (PollResult::Unconfirmed, settings.confirm_after)
            }
            ErrorClass::Absent(_) | ErrorClass::Refused => {
                self.end(error);
                (PollResult::Ended, Duration::ZERO)
            }
            ErrorClass::Transient => self.fail(record, error, settings),
        }
    }

    /// Counts a failure.
    fn fail(
        &self,
        record: &mut Record,
        error: Error,
        settings: &Settings,
    ) -> (PollResult, Duration) {
        record.failures += 1;
        let pause = backoff(record.failures, error.retry_after);
        let trouble = record.trouble.get_or_insert_with(|| Trouble::new(error.clone()));
        trouble.cause = Arc::new(error);
        if record.replied_at.duration_since(trouble.since) >= settings.outage_limit {
            self.end_with_outage(&trouble.cause);
            return (PollResult::Ended, Duration::ZERO);
        }
        let is_stale = self.state.borrow().trouble.is_some();
        if is_stale || record.failures >= settings.stale_after {
            self.set_trouble(&trouble.cause);
        }
        (PollResult::Failed, pause)
    }

    fn publish(&self, revision: Revision, observed_at: Timestamp) {
        self.state.send_modify(|state| {
            state.revision = Arc::new(revision);
            state.trouble = None;
        });
        // The state comes first. Otherwise a reader could see the old content with the new time.
        self.note_answer(observed_at);
    }

    /// Called only for the first of several rejections in a row.
    fn warn(&self, rejection: Rejection) {
        warn!(
            session = %self.name,
            %rejection,
            "rejected an answer from GoToAssist: it does not show the watched session"
        );
    }
}
