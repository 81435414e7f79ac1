//! One version of a session's content, which all its watchers share.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Digest, History, Session, Transition, field::changed_fields};

/// An answer of the vendor that differs from the answer before it.
#[derive(Debug)]
pub struct Revision {
    /// The session.
    pub session: Arc<Session>,
    /// The fingerprint of the session.
    pub digest: Digest,
    /// Every status change since the poll began.
    pub history: History,
    /// When the first answer with this content came.
    pub observed_at: Timestamp,
    /// The difference from the revision before it. Empty for the first revision.
    pub step: Difference,
    /// How many revisions of the poll came before it.
    number: u64,
}

/// How a revision differs from an earlier one of the same poll.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Every status change since then, oldest first.
    pub transitions: Vec<Transition>,
    /// The changed fields, by their names in `session.proto`.
    pub changed_fields: Vec<&'static str>,
}

impl Revision {
    /// The first revision of a poll.
    pub fn first(session: Arc<Session>, observed_at: Timestamp) -> Self {
        Self {
            digest: Digest::of(&session),
            history: History::starting_with(&session),
            session,
            observed_at,
            step: Difference::default(),
            number: 0,
        }
    }

    /// Returns the next revision, if the content of `session` differs. `digest` is the digest of
    /// `session`.
    pub(super) fn next(
        &self,
        session: Arc<Session>,
        digest: Digest,
        observed_at: Timestamp,
    ) -> Option<Self> {
        if digest.content == self.digest.content {
            return None;
        }
        let mut history = self.history.clone();
        history.observe(&session, observed_at);
        let mut next = Self {
            session,
            digest,
            history,
            observed_at,
            step: Difference::default(),
            number: self.number + 1,
        };
        next.step = next.difference_from(self);
        Some(next)
    }

    /// Whether this revision directly follows `before`. If so, `step` is the difference between
    /// them.
    pub fn follows(&self, before: &Self) -> bool {
        self.number == before.number + 1
    }

    /// Returns the difference from an earlier revision.
    pub fn difference_from(&self, before: &Self) -> Difference {
        Difference {
            transitions: self.history.since(before.history.end()).collect(),
            changed_fields: changed_fields(&before.session, &self.session),
        }
    }
}
