//! A watched session: what was sent of it, and which message is next. `WatchSession` has one for
//! each stream, and `WatchSessions` has many, so both keep the same rules.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;
use tonic::Status;

use super::{
    encoding::{Encoding, Encodings, encode_session},
    watcher::{Update, WatcherState},
};
use crate::{
    clock::Clock,
    feed::{Difference, Subscription},
    grpc::{
        metric::WatchMetrics, resume_token::ResumeTokenCodec, session::status_to_proto,
        session_digest::SessionDigests, status, value,
    },
    model::{Known, SessionId, Transition},
    proto::{
        self,
        encoded::{EncodedWatchResponse as Message, WatchResponseParts as Parts},
        watch_session_response::EventType,
    },
    wire,
};

/// What all watches share to compose their messages.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Composer {
    pub resume_tokens: Arc<ResumeTokenCodec>,
    pub session_digests: SessionDigests,
    pub clock: Clock,
    pub metrics: WatchMetrics,
    pub encodings: Encodings,
}

impl Composer {
    /// The status of a session's error.
    pub fn status(&self, error: &wire::Error, session: &SessionId) -> Status {
        status::of_session(error, session, &self.session_digests)
    }
}

/// A watched session.
pub(in crate::grpc) struct Watched {
    session: SessionId,
    subscription: Subscription,
    watcher: WatcherState,
    follow_after_end: Duration,
}

/// What to do next, according to the state of the feed.
pub(in crate::grpc) enum Next {
    /// Send a message.
    Send(Message),
    /// Wait, because there is no update.
    Wait,
    /// End, because the server is draining.
    Drain,
    /// End, because the poll has ended.
    End(Arc<wire::Error>),
}

impl Watched {
    /// `known` is what the watcher knows from an earlier stream.
    pub fn new(
        session: SessionId,
        subscription: Subscription,
        known: Option<Box<Known>>,
        follow_after_end: Duration,
    ) -> Self {
        let watcher = WatcherState::beginning_with(known);
        Self { session, subscription, watcher, follow_after_end }
    }

    /// The session.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// The subscription to the session's poll.
    pub fn subscription(&mut self) -> &mut Subscription {
        &mut self.subscription
    }

    /// Whether the watcher was told that the session is stale, and it still is.
    pub fn is_stale(&self) -> bool {
        self.watcher.is_stale() && self.subscription.trouble().is_some()
    }

    /// When the latest good answer came, which the watcher may not have been told.
    pub fn observed_at(&self) -> Timestamp {
        self.watcher.observed_at().max(self.subscription.observed_at())
    }

    /// Returns what to do next. A returned message counts as sent.
    pub fn next(&mut self, composer: &Composer) -> Next {
        let has_begun = self.watcher.has_begun();
        let now = composer.clock.now();
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
                    composer.metrics.record_delivery(revision.observed_at, now);
                }
                Update::Snapshot | Update::Unchanged | Update::Stale(_) => {}
            }
        }
        Next::Send(self.message(composer, update))
    }

    /// Returns a message without an update. This is a heartbeat, or another STALE while an outage
    /// lasts, because a heartbeat after STALE means that the outage is over.
    pub fn heartbeat(&self, composer: &Composer, terminal: bool) -> Message {
        if self.watcher.is_stale()
            && let Some(cause) = self.subscription.trouble()
        {
            return self.stale(composer, &cause, terminal);
        }
        composer.metrics.count_message(EventType::Heartbeat);
        let encoding = self.encoding(composer);
        Parts { terminal, ..self.parts(composer, encoding.as_deref(), EventType::Heartbeat) }.into()
    }

    /// Whether the session is over, and the time to follow it has passed.
    pub fn is_over(&self, composer: &Composer) -> bool {
        self.over_at(composer).is_some_and(|at| at <= Instant::now())
    }

    /// Returns when the time to follow the session after its end has passed.
    pub fn over_at(&self, composer: &Composer) -> Option<Instant> {
        let since = self.watcher.over_since()?;
        let age = Duration::try_from(composer.clock.now().duration_since(since));
        Some(Instant::now() + self.follow_after_end.saturating_sub(age.unwrap_or_default()))
    }

    fn message(&self, composer: &Composer, update: Update) -> Message {
        let terminal = self.is_over(composer);
        let encoding = self.encoding(composer);
        let encoding = encoding.as_deref();
        match update {
            Update::Next(revision) => {
                composer.metrics.count_message(EventType::Changed);
                composer.metrics.count_transitions(&revision.step.transitions);
                let make = || self.change(composer, encoding, &revision.step, terminal);
                match (encoding, self.watcher.known()) {
                    // All watchers that were sent the previous revision share the message.
                    (Some(encoding), Some(known)) => {
                        encoding.next(&revision, &known, terminal, make)
                    }
                    (None, _) | (_, None) => make(),
                }
            }
            Update::Changed(difference) => {
                composer.metrics.count_message(EventType::Changed);
                composer.metrics.count_transitions(&difference.transitions);
                self.change(composer, encoding, &difference, terminal)
            }
            Update::Snapshot => {
                composer.metrics.count_message(EventType::Snapshot);
                let session = self.session_bytes(encoding);
                let parts = self.parts(composer, encoding, EventType::Snapshot);
                Parts { session, terminal, ..parts }.into()
            }
            Update::Unchanged => self.heartbeat(composer, terminal),
            Update::Stale(cause) => self.stale(composer, &cause, terminal),
        }
    }

    fn change(
        &self,
        composer: &Composer,
        encoding: Option<&Encoding>,
        difference: &Difference,
        terminal: bool,
    ) -> Message {
        let paths = difference.changed_fields.iter().copied().map(str::to_owned).collect();
        Parts {
            session: self.session_bytes(encoding),
            transitions: difference.transitions.iter().map(transition_to_proto).collect(),
            changed_fields: Some(prost_types::FieldMask { paths }),
            terminal,
            ..self.parts(composer, encoding, EventType::Changed)
        }
        .into()
    }

    fn stale(&self, composer: &Composer, cause: &wire::Error, terminal: bool) -> Message {
        composer.metrics.count_message(EventType::Stale);
        let cause = composer.status(cause, &self.session);
        let cause = status::to_proto(&cause);
        let encoding = self.encoding(composer);
        let parts = self.parts(composer, encoding.as_deref(), EventType::Stale);
        Parts { stale_cause: Some(cause), terminal, ..parts }.into()
    }

    /// Returns the parts that every message has.
    fn parts(
        &self,
        composer: &Composer,
        encoding: Option<&Encoding>,
        event_type: EventType,
    ) -> Parts {
        let encode = |known: &Known| composer.resume_tokens.encode(&self.session, known);
        let token = |known: Known| match encoding {
            Some(encoding) => encoding.resume_token(&known, || encode(&known)),
            None => encode(&known).into(),
        };
        Parts {
            event_type: event_type.into(),
            observed_at: Some(value::timestamp(self.watcher.observed_at())),
            resume_token: self.watcher.known().map(token).unwrap_or_default(),
            ..Parts::default()
        }
    }

    fn session_bytes(&self, encoding: Option<&Encoding>) -> Option<Bytes> {
        let revision = self.watcher.revision()?;
        Some(encoding.map_or_else(|| encode_session(revision), |shared| shared.session(revision)))
    }

    /// The shared encoding of the revision that was last sent. A watcher that has the session for
    /// itself shares nothing, so the encoding would only take memory.
    fn encoding(&self, composer: &Composer) -> Option<Arc<Encoding>> {
        let revision = self.watcher.revision()?;
        self.subscription.is_shared().then(|| composer.encodings.of(revision))
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
