//! The state of one watcher. It records what the watcher was sent, and chooses the next update. It
//! is pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    feed::{Difference, Revision, State},
    model::{Known, Progress},
    wire,
};

/// What a watcher was sent.
#[derive(Debug)]
pub(super) struct WatcherState {
    last: Last,
    progress: Option<Progress>,
    observed_at: Timestamp,
    over_since: Option<Timestamp>,
    has_begun: bool,
    is_stale: bool,
}

/// The content that a watcher was last sent.
#[derive(Debug)]
enum Last {
    Nothing,
    /// The watcher got it in an earlier watch, perhaps from another server.
    Earlier(Box<Known>),
    Revision(Arc<Revision>),
}

/// What to send. The session to send is in [`WatcherState::revision`].
#[derive(Debug)]
pub(super) enum Update {
    /// The current session.
    Snapshot,
    /// The revision that directly follows the last sent one. Its `step` is the difference.
    Next(Arc<Revision>),
    /// The session, and its difference from what was last sent.
    Changed(Difference),
    /// Nothing changed.
    Unchanged,
    /// The session is stale because the vendor fails.
    Stale(Arc<wire::Error>),
}

impl WatcherState {
    /// Creates the state of a new watcher. `known` is what it knows from an earlier watch.
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

    /// Returns the next update for `state`, if there is one. A returned update counts as sent.
    ///
    /// `observed_at` is when the latest good answer came.
    pub fn next(
        &mut self,
        state: &State,
        observed_at: Timestamp,
        now: Timestamp,
    ) -> Option<Update> {
        let content = self.content(&state.revision);
        // All watchers that were sent the previous revision get the same message, so it must not
        // depend on the current time.
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

    /// Whether anything was sent in this watch.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the watcher was told that the session is stale.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Returns when the session was first seen to be over, in this watch or an earlier one.
    pub fn over_since(&self) -> Option<Timestamp> {
        self.over_since
    }

    /// Returns when the answer came that the latest message is based on.
    pub fn observed_at(&self) -> Timestamp {
        self.observed_at
    }

    /// Returns the revision that was last sent in this watch, if any.
    pub fn revision(&self) -> Option<&Arc<Revision>> {
        match &self.last {
            Last::Revision(revision) => Some(revision),
            Last::Nothing | Last::Earlier(_) => None,
        }
    }

    /// Returns what the watcher has to remember to resume from here.
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
