//! What one answer of the vendor says, with what all its watchers share.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Digest, History, Session, Transition, change};

/// One answer of the vendor that differs from the one before.
#[derive(Debug)]
pub struct Reading {
    /// The session.
    pub session: Arc<Session>,
    /// The fingerprint of its content.
    pub digest: Digest,
    /// Every status change since the poll began.
    pub history: History,
    /// When the answer came that first had this content.
    pub observed_at: Timestamp,
    /// How it differs from the one before it; of the first, in nothing.
    pub step: Difference,
    /// How many came before it in its poll.
    number: u64,
}

/// How a reading differs from an earlier one of the same poll.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Every status change since then, oldest first.
    pub transitions: Vec<Transition>,
    /// The fields with another content, by their names in `session.proto`.
    pub changed_fields: Vec<&'static str>,
}

impl Reading {
    /// The first one of a poll.
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

    /// The one that follows this, unless its content, which is `digest`, is the same.
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

    /// Whether it is the one right after `before`, from which it differs by its `step`.
    pub fn follows(&self, before: &Self) -> bool {
        self.number == before.number + 1
    }

    /// How it differs from any earlier one.
    pub fn difference_from(&self, before: &Self) -> Difference {
        Difference {
            transitions: self.history.since(before.history.end()).collect(),
            changed_fields: change::changed_fields(&before.session, &self.session),
        }
    }
}
