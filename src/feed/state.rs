//! The state that the watchers of a session share.

use std::{fmt, sync::Arc, task::Waker};

use jiff::Timestamp;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::watch;

use super::revision::Revision;
use crate::{
    model::{SessionId, Status},
    wire::Error,
};

/// The state of a polled session.
#[derive(Debug)]
pub struct State {
    /// The latest revision.
    pub revision: Arc<Revision>,
    /// Why the session is stale, if it is.
    pub trouble: Option<Arc<Error>>,
    /// Why the poll has ended.
    pub end: Option<Arc<Error>>,
    /// Whether the feed is closing. The watchers must then reconnect to another server.
    pub is_closing: bool,
}

/// What the metrics and the status page show about a poll.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The session.
    pub session: SessionId,
    /// Its latest status.
    pub status: Status,
    /// The number of its watchers.
    pub watchers: usize,
    /// When the latest good answer came.
    pub observed_at: Timestamp,
    /// Whether the session is stale.
    pub is_stale: bool,
    /// Whether the vendor's list shows the session, so that a change is polled for at once.
    pub is_listed: bool,
}

/// The current state of a poll. Publishes each change to the watchers.
///
/// A watcher with a stream of its own waits for the next change with a receiver. A watcher that
/// shares its stream with thousands of others leaves a waker, which takes less memory and time.
pub(super) struct Published {
    sender: watch::Sender<State>,
    wakers: Mutex<Slab<Waker>>,
}

impl Published {
    pub fn new(state: State) -> Self {
        Self { sender: watch::Sender::new(state), wakers: Mutex::default() }
    }

    /// Returns the current state. It does not change while the reference exists.
    pub fn borrow(&self) -> watch::Ref<'_, State> {
        self.sender.borrow()
    }

    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.sender.subscribe()
    }

    /// Changes the state, and wakes all watchers.
    pub fn send_modify(&self, modify: impl FnOnce(&mut State)) {
        self.sender.send_modify(modify);
        self.wake();
    }

    /// Changes the state. Wakes the watchers if `modify` returns true.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut State) -> bool) {
        if self.sender.send_if_modified(modify) {
            self.wake();
        }
    }

    /// Adds a waker, which each change wakes. Returns the key to remove it with.
    pub fn add_waker(&self, waker: Waker) -> usize {
        let mut wakers = self.wakers.lock();
        if wakers.is_empty() {
            // Usually one stream watches a session. `Slab` itself would begin with room for four.
            wakers.reserve_exact(1);
        }
        wakers.insert(waker)
    }

    pub fn remove_waker(&self, key: usize) {
        // The waker is dropped after the lock, because it may own more than itself.
        let waker = self.wakers.lock().try_remove(key);
        drop(waker);
    }

    fn wake(&self) {
        for (_, waker) in &*self.wakers.lock() {
            waker.wake_by_ref();
        }
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("state", &*self.borrow()).finish_non_exhaustive()
    }
}
