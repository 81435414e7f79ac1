//! The sessions on a stream, in the order in which they were added.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use futures_util::future::AbortHandle;

use super::ready::Bell;
use crate::{
    grpc::{concurrency::WatchPermit, watch::Watched},
    model::{Known, SessionId},
};

/// Identifies a session on a stream. Later sessions have larger numbers, and no number is used
/// again.
pub(super) type Ticket = u64;

/// The sessions on a stream.
#[derive(Default)]
pub(super) struct Entries {
    next: Ticket,
    /// Boxed, because the nodes of a map are half empty on average.
    by_ticket: BTreeMap<Ticket, Box<Entry>>,
    by_session: HashMap<SessionId, Ticket>,
}

/// A session on a stream.
pub(super) struct Entry {
    pub session: SessionId,
    pub stage: Stage,
    _permit: WatchPermit,
}

/// How far a session is.
pub(super) enum Stage {
    /// It waits for its turn to be read.
    Waiting(Start),
    /// Its first answer is on its way. The request is cancelled if the session is removed.
    Reading(AbortHandle),
    /// It is watched.
    Watched(Member),
}

/// How the watch of a session starts.
pub(super) struct Start {
    /// What the client knows from an earlier stream.
    pub known: Option<Box<Known>>,
    pub follow_after_end: Duration,
}

/// A watched session on a stream.
pub(super) struct Member {
    pub watched: Watched,
    pub bell: Arc<Bell>,
    /// Whether STALE must be repeated.
    pub repeats_stale: bool,
    /// Whether the stream has noted when the time to follow the session will have passed.
    pub is_timed: bool,
}

impl Entries {
    pub fn len(&self) -> usize {
        self.by_ticket.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_ticket.is_empty()
    }

    pub fn contains(&self, session: &SessionId) -> bool {
        self.by_session.contains_key(session)
    }

    /// Adds a session, which waits for its turn. It must not be on the stream.
    pub fn add(&mut self, session: SessionId, start: Start, permit: WatchPermit) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.by_session.insert(session.clone(), ticket);
        let entry = Entry { session, stage: Stage::Waiting(start), _permit: permit };
        self.by_ticket.insert(ticket, Box::new(entry));
        ticket
    }

    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        self.by_ticket.get_mut(&ticket).map(|entry| &mut **entry)
    }

    /// The watched session, if it is on the stream and its first answer has come.
    pub fn member_mut(&mut self, ticket: Ticket) -> Option<&mut Member> {
        match &mut self.get_mut(ticket)?.stage {
            Stage::Watched(member) => Some(member),
            Stage::Waiting(_) | Stage::Reading(_) => None,
        }
    }

    /// Removes a session. Returns its id.
    pub fn remove(&mut self, ticket: Ticket) -> Option<SessionId> {
        let entry = self.by_ticket.remove(&ticket)?;
        self.by_session.remove(&entry.session);
        Some(entry.leave())
    }

    /// Removes the session that was added first. Returns its id.
    pub fn pop_first(&mut self) -> Option<SessionId> {
        let ticket = *self.by_ticket.first_key_value()?.0;
        self.remove(ticket)
    }

    /// Removes a session by its id, if it is on the stream.
    pub fn remove_session(&mut self, session: &str) {
        let Ok(session) = session.parse::<SessionId>() else { return };
        if let Some(ticket) = self.by_session.get(&session) {
            self.remove(*ticket);
        }
    }

    /// Calls `visit` with at most `count` watched sessions, beginning with `from`. Returns where to
    /// continue, or `Break` after the last one.
    pub fn visit(
        &mut self,
        from: Ticket,
        count: usize,
        mut visit: impl FnMut(&mut Member),
    ) -> ControlFlow<(), Ticket> {
        let mut entries = self.by_ticket.range_mut(from..);
        for (_, entry) in entries.by_ref().take(count) {
            match &mut entry.stage {
                Stage::Watched(member) => visit(member),
                Stage::Waiting(_) | Stage::Reading(_) => {}
            }
        }
        match entries.next() {
            Some((next, _)) => ControlFlow::Continue(*next),
            None => ControlFlow::Break(()),
        }
    }
}

impl Entry {
    fn leave(self) -> SessionId {
        match self.stage {
            Stage::Reading(read) => read.abort(),
            Stage::Waiting(_) | Stage::Watched(_) => {}
        }
        self.session
    }
}

impl Stage {
    /// Begins to read a session whose turn has come.
    pub fn begin_reading(&mut self, abort: AbortHandle) -> Option<Start> {
        match mem::replace(self, Stage::Reading(abort)) {
            Stage::Waiting(start) => Some(start),
            // A session has only one turn.
            later @ (Stage::Reading(_) | Stage::Watched(_)) => {
                *self = later;
                None
            }
        }
    }
}
