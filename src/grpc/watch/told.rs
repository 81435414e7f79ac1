//! What one watcher was told, and what it is to be told next. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    feed::{Difference, Reading, State},
    model::{Known, Progress},
    wire,
};

/// What a watcher was told so far.
#[derive(Debug)]
pub(super) struct Told {
    last: Last,
    progress: Option<Progress>,
    observed_at: Timestamp,
    over_since: Option<Timestamp>,
    has_begun: bool,
    is_stale: bool,
}

/// The content that a watcher was told last.
#[derive(Debug)]
enum Last {
    Nothing,
    /// Told in an earlier watch, perhaps by another server.
    Earlier(Box<Known>),
    Reading(Arc<Reading>),
}

/// What there is to tell. Where it is the session, that is [`Told::reading`].
#[derive(Debug)]
pub(super) enum News {
    /// The session as it is.
    Snapshot,
    /// The session, one reading after what was told last: it differs from that by its `step`.
    Next(Arc<Reading>),
    /// The session, and how it differs from what was told last.
    Changed(Difference),
    /// That nothing changed.
    Unchanged,
    /// That the vendor is in trouble.
    Stale(Arc<wire::Error>),
}

impl Told {
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

    /// The next thing to tell in view of `state`, if there is one; what is returned counts as told.
    ///
    /// `observed_at`: when the latest good answer came.
    pub fn next(&mut self, state: &State, observed_at: Timestamp, now: Timestamp) -> Option<News> {
        let content = self.content(&state.reading);
        // Those who were there are told the same, whenever each of them looks.
        let (observed_at, now) = match content {
            Some(News::Next(_)) => (state.reading.observed_at, state.reading.observed_at),
            None | Some(News::Snapshot | News::Changed(_) | News::Unchanged | News::Stale(_)) => {
                (observed_at, now)
            }
        };
        self.observed_at = self.observed_at.max(observed_at);
        let session = &state.reading.session;
        let progress = self.progress.map_or(Progress::of(session), |known| known.after(session));
        self.progress = Some(progress);
        self.over_since = progress.is_over().then(|| self.over_since.unwrap_or(now));
        self.last = Last::Reading(state.reading.clone());
        if content.is_some() {
            self.has_begun = true;
            self.is_stale &= state.trouble.is_some();
            return content;
        }
        self.begin().or_else(|| self.trouble(state))
    }

    /// Whether it was told anything in this watch.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether it was told last that the vendor is in trouble.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// When the session was first seen over, by this watch or the poll that it followed.
    pub fn over_since(&self) -> Option<Timestamp> {
        self.over_since
    }

    /// When the answer came behind what was told last.
    pub fn observed_at(&self) -> Timestamp {
        self.observed_at
    }

    /// The reading that was told last, if one was in this watch.
    pub fn reading(&self) -> Option<&Reading> {
        match &self.last {
            Last::Reading(reading) => Some(reading),
            Last::Nothing | Last::Earlier(_) => None,
        }
    }

    /// What the watcher has to remember to go on from here.
    pub fn known(&self) -> Option<Known> {
        let digest = match &self.last {
            Last::Nothing => return None,
            Last::Earlier(known) => known.digest,
            Last::Reading(reading) => reading.digest,
        };
        let Self { observed_at, over_since, .. } = *self;
        Some(Known { digest, progress: self.progress?, observed_at, over_since })
    }

    fn content(&self, reading: &Arc<Reading>) -> Option<News> {
        match &self.last {
            Last::Nothing => Some(News::Snapshot),
            Last::Earlier(known) if known.digest.content == reading.digest.content => None,
            Last::Earlier(known) => {
                let Known { digest, progress, observed_at, .. } = &**known;
                let session = &reading.session;
                Some(News::Changed(Difference {
                    transitions: reading.history.since_known(*progress, *observed_at, session),
                    changed_fields: digest.changed(&reading.digest).names().collect(),
                }))
            }
            Last::Reading(last) if reading.follows(last) => Some(News::Next(reading.clone())),
            Last::Reading(last) => {
                let is_same = reading.digest.content == last.digest.content;
                let is_told = is_same && reading.history.end() == last.history.end();
                (!is_told).then(|| News::Changed(reading.difference_from(last)))
            }
        }
    }

    fn begin(&mut self) -> Option<News> {
        let is_first = !self.has_begun;
        self.has_begun = true;
        is_first.then_some(News::Unchanged)
    }

    fn trouble(&mut self, state: &State) -> Option<News> {
        match (&state.trouble, self.is_stale) {
            (Some(cause), false) => {
                self.is_stale = true;
                Some(News::Stale(cause.clone()))
            }
            (None, true) => {
                self.is_stale = false;
                Some(News::Unchanged)
            }
            (Some(_), true) | (None, false) => None,
        }
    }
}
