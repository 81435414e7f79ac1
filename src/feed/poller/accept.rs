//! The one way in which an answer changes what a poll knows, whoever asked for it. Whether it is
//! believed is decided by [`crate::model::validator`].

use std::{mem, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::{Poller, Record, Trouble};
use crate::{
    feed::{
        Reading, Reply, Settings,
        effect::{Effect, Meaning, outage, retry_pause},
        pace::jittered,
    },
    model::{Baseline, Digest, Disbelief, Session, Verdict},
    wire,
    wire::{Answer, Kind},
};

impl Poller {
    /// Takes in the reply to a request that was sent at `sent_at`, whoever sent it.
    pub fn accept(&self, reply: Reply, sent_at: Instant, settings: &Settings) -> Effect {
        let mut record = self.record();
        let newer = if reply.is_ok() { record.shown_at } else { record.answered_at };
        if sent_at < newer {
            if reply.is_ok() {
                // Too old to tell what it is like, and yet the session is there.
                record.validator.doubt_absence();
            }
            return Effect::Superseded;
        }
        record.answered_at = Instant::now();
        let (effect, pause) = match reply {
            Ok(answer) => self.accept_answer(&mut record, answer, settings),
            Err(error) => self.accept_error(&mut record, error, settings),
        };
        record.due_at = record.answered_at + jittered(pause);
        drop(record);
        self.rescheduled.notify_one();
        effect
    }

    fn accept_answer(
        &self,
        record: &mut Record,
        answer: Answer<Arc<Session>>,
        settings: &Settings,
    ) -> (Effect, Duration) {
        let Answer { content: session, observed_at, .. } = answer;
        record.shown_at = record.answered_at;
        let latest = self.state.borrow().reading.clone();
        let digest = Digest::of(&session);
        let baseline = Baseline {
            digest: &latest.digest,
            history: &latest.history,
            session: Some(&latest.session),
        };
        match record.validator.judge(baseline, &session, &digest) {
            Verdict::Believed => {}
            Verdict::Doubtful => {
                let cause = wire::Error::new(Kind::Malformed);
                record.trouble.get_or_insert_with(|| Trouble::beginning_with(cause));
                return (Effect::Doubtful, settings.confirm_after);
            }
            Verdict::Disbelieved(disbelief) => {
                if !mem::replace(&mut record.has_disbelieved, true) {
                    self.warn(disbelief);
                }
                let error = wire::Error::new(Kind::Malformed).caused_by(disbelief);
                let (effect, pause) = self.fail(record, error, settings);
                let is_end = effect == Effect::Ended;
                return (if is_end { effect } else { Effect::Disbelieved }, pause);
            }
        }
        record.has_disbelieved = false;
        record.failures = 0;
        record.trouble = None;
        record.gap = record.answered_at.duration_since(record.believed_at).max(record.gap / 2);
        record.believed_at = record.answered_at;
        record.churn.observe(&digest);
        let pause = settings.pace.interval(session.status());
        let changed = latest.digest.changed(&digest);
        let next = if record.churn.holds(changed) {
            None
        } else {
            latest.next(session, digest, observed_at)
        };
        match next {
            None => {
                self.confirm(observed_at);
                (Effect::Unchanged, pause)
            }
            Some(reading) => {
                record.churn.published();
                self.publish(reading);
                (Effect::Changed, pause)
            }
        }
    }

    fn accept_error(
        &self,
        record: &mut Record,
        error: wire::Error,
        settings: &Settings,
    ) -> (Effect, Duration) {
        match Meaning::of(&error) {
            Meaning::Absent(absence) if !record.validator.confirms_absence(absence) => {
                record.failures = 0;
                record.trouble.get_or_insert_with(|| Trouble::beginning_with(error));
                (Effect::Doubtful, settings.confirm_after)
            }
            Meaning::Absent(_) | Meaning::Refused => {
                self.end(error);
                (Effect::Ended, Duration::ZERO)
            }
            Meaning::Trouble => self.fail(record, error, settings),
        }
    }

    /// Counts a failure.
    fn fail(
        &self,
        record: &mut Record,
        error: wire::Error,
        settings: &Settings,
    ) -> (Effect, Duration) {
        record.failures += 1;
        let pause = retry_pause(record.failures, error.retry_after);
        let now = record.answered_at;
        let trouble = record.trouble.get_or_insert_with(|| Trouble::beginning_with(error.clone()));
        trouble.cause = Arc::new(error);
        if now.duration_since(trouble.since) >= settings.outage_limit {
            self.end(outage(&trouble.cause));
            return (Effect::Ended, Duration::ZERO);
        }
        let is_told = self.state.borrow().trouble.is_some();
        if is_told || record.failures >= settings.stale_after {
            self.tell(&trouble.cause);
        }
        (Effect::Failed, pause)
    }

    fn confirm(&self, observed_at: Timestamp) {
        self.advance(observed_at);
        self.state.send_if_modified(|state| state.trouble.take().is_some());
    }

    fn publish(&self, reading: Reading) {
        let observed_at = reading.observed_at;
        self.state.send_modify(|state| {
            state.reading = Arc::new(reading);
            state.trouble = None;
        });
        // Only now: who looks in between must not take old content for new.
        self.advance(observed_at);
    }

    /// Is called once for a row of them.
    fn warn(&self, disbelief: Disbelief) {
        warn!(
            session = %self.name,
            %disbelief,
            "an answer of GoToAssist is not believed: it is not the watched session's state"
        );
    }
}
