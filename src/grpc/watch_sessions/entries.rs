//! The sessions on a stream, in the order in which they were added.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use futures_util::future::AbortHandle;
use tokio::{runtime::Handle, task::yield_now};

use super::ready::Bell;
use crate::{
    grpc::{concurrency::WatchPermit, watch::Watched},
    model::{Known, SessionId},
};

/// `all` may find sessions again that were removed before they were read, if they were more than
/// these.
const UNREAD_LIMIT: usize = 10_000;

/// After so many sessions are dropped, other tasks get a turn.
const SLICE: usize = 1_000;

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
    /// The sessions that were on the stream, which `all` must not find again.
    gone: HashSet<SessionId>,
}

/// A session on a stream.
pub(super) struct Entry {
    pub session: SessionId,
    pub stage: Stage,
    /// Whether `all` has found it. Otherwise, the client has asked for it.
    pub is_found: bool,
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

    /// The session with this id or token, if it is on the stream.
    pub fn named(&mut self, session: &SessionId) -> Option<&mut Entry> {
        let ticket = *self.by_session.get(session)?;
        self.get_mut(ticket)
    }

    /// Whether the session is on the stream, or was on it.
    pub fn has_had(&self, session: &SessionId) -> bool {
        self.by_session.contains_key(session) || self.gone.contains(session)
    }

    /// Adds a session, which waits for its turn. It must not be on the stream.
    pub fn add(&mut self, session: SessionId, start: Start, permit: WatchPermit) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.by_session.insert(session.clone(), ticket);
        let stage = Stage::Waiting(start);
        let entry = Entry { session, stage, is_found: false, _permit: permit };
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
        // The vendor limits how many sessions are read. What a client adds and removes unread must
        // have a limit too.
        if entry.stage.is_read() || self.gone.len() < UNREAD_LIMIT {
            self.gone.insert(entry.session.clone());
        }
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

    /// Looks at no more than `count` sessions, beginning with `from`, and removes those that `all`
    /// has found. Returns where to continue, or `Break` after the last one.
    pub fn remove_found(&mut self, from: Ticket, count: usize) -> ControlFlow<(), Ticket> {
        let entries: Vec<_> = self
            .by_ticket
            .range(from..)
            .take(count + 1)
            .map(|(ticket, entry)| (*ticket, entry.is_found))
            .collect();
        for (ticket, is_found) in entries.iter().take(count) {
            if *is_found {
                self.remove(*ticket);
            }
        }
        match entries.get(count) {
            Some((next, _)) => ControlFlow::Continue(*next),
            None => ControlFlow::Break(()),
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

impl Drop for Entries {
    /// Dropping ten thousand sessions at once would hold up other tasks, so a task of its own drops
    /// them.
    fn drop(&mut self) {
        if self.by_ticket.len() <= SLICE {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut entries = mem::take(&mut self.by_ticket);
        runtime.spawn(async move {
            while !entries.is_empty() {
                for _ in 0..SLICE {
                    entries.pop_first();
                }
                yield_now().await;
            }
        });
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
    fn is_read(&self) -> bool {
        match self {
            Stage::Watched(_) => true,
            Stage::Waiting(_) | Stage::Reading(_) => false,
        }
    }

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
