//! The stream of messages of one watch, with its timers.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use async_stream::stream;
use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tonic::Status;

use super::{
    encoding::Encodings,
    watcher::{Update, WatcherState},
};
use crate::{
    clock::Clock,
    feed::{Difference, Revision, Subscription},
    grpc::{
        concurrency::WatchPermit, metric::WatchMetrics, resume_token::ResumeTokenCodec,
        session::status_to_proto, status, value,
    },
    model::{Known, SessionId, Transition},
    proto::{
        self,
        encoded::{EncodedWatchResponse as Message, WatchResponseParts as Parts},
        watch_session_response::EventType,
    },
    wire,
};

/// The longest time between the last heartbeat and the caller's deadline.
const WARNING: Duration = Duration::from_millis(500);

/// One watch.
pub(super) struct Watch {
    pub resume_tokens: Arc<ResumeTokenCodec>,
    pub clock: Clock,
    pub metrics: WatchMetrics,
    pub encodings: Encodings,
    pub session: SessionId,
    pub subscription: Subscription,
    pub watcher: WatcherState,
    pub heartbeat_interval: Duration,
    pub follow_after_end: Duration,
    pub last_message: Instant,
    pub rotation: Instant,
    pub deadline: Option<Instant>,
    pub has_warned: bool,
    pub _permit: WatchPermit,
}

/// Why a watch wakes up.
enum Wake {
    /// There may be an update.
    Update,
    /// No message was sent for the heartbeat interval, or the deadline is near.
    Heartbeat,
    /// The session is over, and the time to follow it has passed.
    Over,
    /// The stream ends, and the watch should continue in another one.
    End(Status),
    /// The caller's deadline has passed.
    Deadline,
}

/// What a watch does next, according to the state of the feed.
enum Next {
    /// Send a message.
    Send(Message),
    /// Wait, because there is no update.
    Wait,
    /// End, because the server is draining.
    Drain,
    /// End, because the poll has ended.
    End(Arc<wire::Error>),
}

/// Returns the messages of a watch. The stream ends with OK after a terminal message, or with an
/// error.
pub(super) fn messages(mut watch: Watch) -> impl Stream<Item = Result<Message, Status>> + Send {
    stream! {
        // One timer serves the whole watch, because a new timer for each message would cost more.
        let mut alarm = pin!(sleep_until(watch.rotation));
        let mut woken_by = Wake::Update;
        loop {
            let mut is_silent = true;
            loop {
                match watch.next() {
                    Next::Send(message) => {
                        let is_terminal = message.is_terminal;
                        is_silent = false;
                        yield Ok(message);
                        if is_terminal {
                            return;
                        }
                    }
                    Next::Wait => break,
                    Next::Drain => {
                        yield Ok(watch.heartbeat(false));
                        yield Err(status::draining());
                        return;
                    }
                    Next::End(error) => {
                        yield Err(status::of_session(&error, &watch.session));
                        return;
                    }
                }
            }
            match woken_by {
                Wake::Update => {}
                Wake::Heartbeat => {
                    if is_silent {
                        yield Ok(watch.heartbeat(false));
                    }
                }
                Wake::Over => {
                    yield Ok(watch.heartbeat(true));
                    return;
                }
                Wake::End(status) => {
                    yield Ok(watch.heartbeat(false));
                    yield Err(status);
                    return;
                }
                Wake::Deadline => {
                    yield Err(status::deadline_exceeded());
                    return;
                }
            }
            woken_by = watch.wait(alarm.as_mut()).await;
        }
    }
}

impl Watch {
    /// Returns what to do next. A returned message counts as sent.
    fn next(&mut self) -> Next {
        let has_begun = self.watcher.has_begun();
        let now = self.clock.now();
        let view = self.subscription.current();
        let update = self.watcher.next(&view.state, view.observed_at, now);
        let otherwise = match &view.state.end {
            Some(error) => Next::End(error.clone()),
            None if view.state.is_closing => Next::Drain,
            None => Next::Wait,
        };
        drop(view);
        let Some(update) = update else { return otherwise };
        // The first revision of a watch may be old, so it is not measured.
        if has_begun && let Some(revision) = self.watcher.revision() {
            match &update {
                Update::Next(_) | Update::Changed(_) => {
                    self.metrics.record_delivery(revision.observed_at, now);
                }
                Update::Snapshot | Update::Unchanged | Update::Stale(_) => {}
            }
        }
        Next::Send(self.message(update))
    }

    fn message(&mut self, update: Update) -> Message {
        let terminal = self.is_over();
        match update {
            Update::Next(revision) => self.next_revision(&revision, terminal),
            Update::Changed(difference) => {
                self.count(EventType::Changed);
                self.metrics.count_transitions(&difference.transitions);
                self.change(&difference, terminal)
            }
            Update::Snapshot => {
                self.count(EventType::Snapshot);
                let session = self.encoded_session();
                Parts { session, terminal, ..self.parts(EventType::Snapshot) }.into()
            }
            Update::Unchanged => self.heartbeat(terminal),
            Update::Stale(cause) => self.stale(&cause, terminal),
        }
    }

    /// Returns the message of a change, which all watchers that were sent the previous revision
    /// share.
    fn next_revision(&mut self, revision: &Arc<Revision>, terminal: bool) -> Message {
        self.count(EventType::Changed);
        self.metrics.count_transitions(&revision.step.transitions);
        let make = || self.change(&revision.step, terminal);
        match self.watcher.known() {
            Some(known) => self.encodings.of(revision).next(revision, &known, terminal, make),
            None => make(),
        }
    }

    fn change(&self, difference: &Difference, terminal: bool) -> Message {
        let paths = difference.changed_fields.iter().copied().map(str::to_owned).collect();
        Parts {
            session: self.encoded_session(),
            transitions: difference.transitions.iter().map(transition_to_proto).collect(),
            changed_fields: Some(prost_types::FieldMask { paths }),
            terminal,
            ..self.parts(EventType::Changed)
        }
        .into()
    }

    fn encoded_session(&self) -> Option<Bytes> {
        self.watcher.revision().map(|revision| self.encodings.of(revision).session(revision))
    }

    /// Returns a message without an update. This is a heartbeat, or another STALE while an outage
    /// lasts, because a heartbeat after STALE means that the outage is over.
    fn heartbeat(&mut self, terminal: bool) -> Message {
        if self.watcher.is_stale()
            && let Some(cause) = self.subscription.trouble()
        {
            return self.stale(&cause, terminal);
        }
        self.count(EventType::Heartbeat);
        Parts { terminal, ..self.parts(EventType::Heartbeat) }.into()
    }

    fn stale(&mut self, cause: &wire::Error, terminal: bool) -> Message {
        self.count(EventType::Stale);
        let cause = status::to_proto(&status::of_session(cause, &self.session));
        Parts { stale_cause: Some(cause), terminal, ..self.parts(EventType::Stale) }.into()
    }

    fn count(&mut self, event_type: EventType) {
        self.last_message = Instant::now();
        self.metrics.count_message(event_type);
    }

    /// Returns the parts that every message has.
    fn parts(&self, event_type: EventType) -> Parts {
        let encode = |known: &Known| self.resume_tokens.encode(&self.session, known);
        let token = |known: Known| match self.watcher.revision() {
            Some(revision) => self.encodings.of(revision).resume_token(&known, || encode(&known)),
            None => encode(&known).into(),
        };
        Parts {
            event_type: event_type.into(),
            observed_at: Some(value::timestamp(self.watcher.observed_at())),
            resume_token: self.watcher.known().map(token).unwrap_or_default(),
            ..Parts::default()
        }
    }

    /// Waits until the watch may have something to send.
    async fn wait(&mut self, mut alarm: Pin<&mut Sleep>) -> Wake {
        let silence = self.last_message + self.heartbeat_interval;
        let warning = self.deadline.filter(|_| !self.has_warned).map(|deadline| {
            let left = deadline.saturating_duration_since(self.last_message);
            deadline.checked_sub(WARNING.min(left / 4)).unwrap_or(deadline)
        });
        let over = self.over_at();
        let ends = [Some(self.rotation), over, self.deadline, warning];
        let next = ends.into_iter().flatten().fold(silence, Instant::min);
        loop {
            // An early alarm is harmless. It is cheaper than resetting the timer after each
            // message.
            if alarm.deadline() > next || alarm.is_elapsed() {
                alarm.as_mut().reset(next);
            }
            tokio::select! {
                biased;
                () = self.subscription.changed() => return Wake::Update,
                () = alarm.as_mut() => if next <= Instant::now() { break },
            }
        }
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= next);
        if has_come(self.deadline) {
            Wake::Deadline
        } else if has_come(over) {
            Wake::Over
        } else if has_come(Some(self.rotation)) {
            Wake::End(status::stream_rotated())
        } else {
            self.has_warned |= has_come(warning);
            Wake::Heartbeat
        }
    }

    fn is_over(&self) -> bool {
        self.over_at().is_some_and(|at| at <= Instant::now())
    }

    /// Returns when the time to follow the session after its end has passed.
    fn over_at(&self) -> Option<Instant> {
        let since = self.watcher.over_since()?;
        let age = Duration::try_from(self.clock.now().duration_since(since)).unwrap_or_default();
        Some(Instant::now() + self.follow_after_end.saturating_sub(age))
    }
}

fn transition_to_proto(transition: &Transition) -> proto::StatusTransition {
    let Transition { from, to, occurred_at, inferred } = *transition;
    proto::StatusTransition {
        from_status: status_to_proto(from).into(),
        to_status: status_to_proto(to).into(),
        occurred_at: occurred_at.map(value::timestamp),
        inferred,
    }
}
