//! The state of one watcher: what it was sent so far, and which update it gets next. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    feed::{Difference, Revision, State},
    model::{Known, Progress},
    wire,
};

/// What a watcher was sent so far.
#[derive(Debug)]
pub(super) struct WatcherState {
    last: Last,
    progress: Option<Progress>,
    observed_at: Timestamp,
    over_since: Option<Timestamp>,
    has_begun: bool,
    is_stale: bool,
}

/// The content that a watcher was sent last.
#[derive(Debug)]
enum Last {
    Nothing,
    /// Sent in an earlier watch, perhaps by another server.
    Earlier(Box<Known>),
    Revision(Arc<Revision>),
}

/// What to send. Where it is the session, that is [`WatcherState::revision`].
#[derive(Debug)]
pub(super) enum Update {
    /// The session as it is.
    Snapshot,
    /// The revision that follows the one sent last, from which it differs by its `step`.
    Next(Arc<Revision>),
    /// The session, and how it differs from what was sent last.
    Changed(Difference),
    /// That nothing changed.
    Unchanged,
    /// That the vendor is in trouble.
    Stale(Arc<wire::Error>),
}

impl WatcherState {
    /// A watcher who begins, with what it knows from an earlier watch.
    pub fn beginning_with(known: Option<Box<Known>>) -> Self {
        Self {
            progress: known.as_ref().map(|known| known.progress),
            observed_at: known.as_ref().map_or(Timestamp::MIN, |known| known.observed_at),
            over_since: known.as_ref().and_then(|known| known.over_since),
            last: known.map_or(Last::Nothing, Last::Earlier),
            has_begun: false,
            is_stale: false,
        }
    }

    /// The next update in view of `state`, if there is one. What is returned counts as sent.
    ///
    /// `observed_at` is when the latest good answer came.
    pub fn next(
        &mut self,
        state: &State,
        observed_at: Timestamp,
        now: Timestamp,
    ) -> Option<Update> {
        let content = self.content(&state.revision);
        // All watchers who were sent the revision before get the same message, whenever each comes here.
        let (observed_at, now) = match content {
            Some(Update::Next(_)) => (state.revision.observed_at, state.revision.observed_at),
            None
            | Some(Update::Snapshot | Update::Changed(_) | Update::Unchanged | Update::Stale(_)) => {
                (observed_at, now)
            }
        };
        self.observed_at = self.observed_at.max(observed_at);
        let session = &state.revision.session;
        let progress = self.progress.map_or(Progress::of(session), |known| known.after(session));
        self.progress = Some(progress);
        self.over_since = progress.is_over().then(|| self.over_since.unwrap_or(now));
        self.last = Last::Revision(state.revision.clone());
        if content.is_some() {
            self.has_begun = true;
            self.is_stale &= state.trouble.is_some();
            return content;
        }
        self.begin().or_else(|| self.trouble(state))
    }

    /// Whether it was sent anything in this watch.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the latest message said that the vendor is in trouble.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// When the session was first seen over, by this watch or the poll that it followed.
    pub fn over_since(&self) -> Option<Timestamp> {
        self.over_since
    }

    /// When the answer came behind the latest message.
    pub fn observed_at(&self) -> Timestamp {
        self.observed_at
    }

    /// The revision that was sent last, if one was in this watch.
    pub fn revision(&self) -> Option<&Arc<Revision>> {
        match &self.last {
            Last::Revision(revision) => Some(revision),
            Last::Nothing | Last::Earlier(_) => None,
        }
    }

    /// What the watcher has to remember to go on from here.
    pub fn known(&self) -> Option<Known> {
        let digest = match &self.last {
            Last::Nothing => return None,
            Last::Earlier(known) => known.digest,
            Last::Revision(revision) => revision.digest,
        };
        let Self { observed_at, over_since, .. } = *self;
        Some(Known { digest, progress: self.progress?, observed_at, over_since })
    }

    fn content(&self, revision: &Arc<Revision>) -> Option<Update> {
        match &self.last {
            Last::Nothing => Some(Update::Snapshot),
            Last::Earlier(known) if known.digest.content == revision.digest.content => None,
            Last::Earlier(known) => {
                let Known { digest, progress, observed_at, .. } = &**known;
                let session = &revision.session;
                Some(Update::Changed(Difference {
                    transitions: revision.history.since_known(*progress, *observed_at, session),
                    changed_fields: digest.changed(&revision.digest).names().collect(),
                }))
            }
            Last::Revision(last) if revision.follows(last) => Some(Update::Next(revision.clone())),
            Last::Revision(last) => {
                let is_same = revision.digest.content == last.digest.content;
                let is_sent = is_same && revision.history.end() == last.history.end();
                (!is_sent).then(|| Update::Changed(revision.difference_from(last)))
            }
        }
    }

    fn begin(&mut self) -> Option<Update> {
        let is_first = !self.has_begun;
        self.has_begun = true;
        is_first.then_some(Update::Unchanged)
    }

    fn trouble(&mut self, state: &State) -> Option<Update> {
        match (&state.trouble, self.is_stale) {
            (Some(cause), false) => {
                self.is_stale = true;
                Some(Update::Stale(cause.clone()))
            }
            (None, true) => {
                self.is_stale = false;
                Some(Update::Unchanged)
            }
            (Some(_), true) | (None, false) => None,
        }
    }
}
