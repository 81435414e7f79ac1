//! What one answer of the vendor says, with what all its watchers share.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;

use crate::model::{Digest, History, Session, change};

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
    /// A place for whoever serves the reading to keep its encoded form.
    pub encoded: OnceLock<Box<dyn Any + Send + Sync>>,
    changed: Option<Changed>,
}

/// The difference to the reading before, found once for all who knew that one.
#[derive(Debug)]
struct Changed {
    before: [u8; 16],
    fields: Vec<&'static str>,
}

impl Reading {
    /// The first one of a poll.
    pub(super) fn first(session: Arc<Session>, observed_at: Timestamp) -> Self {
        Self {
            digest: Digest::of(&session),
            history: History::starting_with(&session),
            session,
            observed_at,
            encoded: OnceLock::new(),
            changed: None,
        }
    }

    /// The one that follows this, unless its content is the same.
    pub(super) fn next(&self, session: Arc<Session>, observed_at: Timestamp) -> Option<Self> {
        let digest = Digest::of(&session);
        if digest.content == self.digest.content {
            return None;
        }
        let mut history = self.history.clone();
        history.observe(&session, observed_at);
        let fields = change::changed_fields(&self.session, &session);
        let changed = Some(Changed { before: self.digest.content, fields });
        Some(Self { session, digest, history, observed_at, encoded: OnceLock::new(), changed })
    }

    /// The fields in which it differs from `before`, by their names in `session.proto`.
    pub fn changed_fields_since(&self, before: &Self) -> Vec<&'static str> {
        match &self.changed {
            Some(changed) if changed.before == before.digest.content => changed.fields.clone(),
            _ => change::changed_fields(&before.session, &self.session),
        }
    }
}
