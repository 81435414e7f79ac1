//! In-flight requests that several callers share.
//!
//! A shared request is a future that its callers poll together. No task is spawned for it. It runs
//! while at least one caller waits, and it is cancelled when the last caller leaves.

use std::{
    collections::HashMap,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Weak},
};

use futures_util::future::{FutureExt as _, Shared};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{
    model::Session,
    wire::{Answer, Error},
};

/// The output of a shared request.
pub(super) type Outcome = Result<Answer<Arc<Session>>, Error>;

/// See the module.
pub(super) type SharedRequest = Shared<Pin<Box<dyn Future<Output = Outcome> + Send>>>;

/// The shared requests of one kind. Nothing is shared between different keys.
pub(super) struct InFlight<K: Eq + Hash>(Arc<Mutex<HashMap<K, Weak<Slot<K>>>>>);

/// Held by all callers that ask for the same key. The request is dropped with the last reference to
/// the slot.
pub(super) struct Slot<K: Eq + Hash> {
    in_flight: InFlight<K>,
    key: K,
    latest: Mutex<Option<SharedRequest>>,
    started: Notify,
    /// For a request that depends on how long its callers wait.
    pub deadline: Arc<SharedDeadline>,
}

/// When the last caller of a shared request stops waiting. `None` if one of them waits without a
/// limit.
#[derive(Default)]
pub(super) struct SharedDeadline(Mutex<Option<Instant>>);

impl<K: Clone + Eq + Hash> InFlight<K> {
    /// Returns the slot for `key`.
    pub fn slot(&self, key: &K) -> Arc<Slot<K>> {
        let mut slots = self.0.lock();
        let entry = slots.entry(key.clone()).or_default();
        if let Some(slot) = entry.upgrade() {
            return slot;
        }
        let slot = Arc::new(Slot {
            in_flight: Self(self.0.clone()),
            key: key.clone(),
            latest: Mutex::default(),
            started: Notify::new(),
            deadline: Arc::default(),
        });
        *entry = Arc::downgrade(&slot);
        slot
    }
}

impl<K: Eq + Hash> Slot<K> {
    /// Returns the in-flight request, or starts a new one. Also returns whether the request was
    /// already in flight.
    pub fn join_or_start<F>(&self, request: impl FnOnce() -> F) -> (SharedRequest, bool)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut latest = self.latest.lock();
        if let Some(request) = latest.clone().filter(is_in_flight) {
            return (request, true);
        }
        let request = request().boxed().shared();
        *latest = Some(request.clone());
        self.started.notify_waiters();
        (request, false)
    }

    /// Returns the in-flight request. If there is none, waits until one starts.
    pub async fn join(&self) -> SharedRequest {
        let mut has_waited = false;
        loop {
            let started = self.started.notified();
            let latest = self.latest.lock().clone();
            // A request that started during the wait may already have ended. Its outcome is still
            // good.
            if let Some(request) = latest.filter(|latest| has_waited || is_in_flight(latest)) {
                return request;
            }
            started.await;
            has_waited = true;
        }
    }
}

fn is_in_flight(request: &SharedRequest) -> bool {
    request.peek().is_none()
}

impl<K: Eq + Hash> Default for InFlight<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut slots = self.in_flight.0.lock();
        // Another slot may have replaced this one.
        if slots.get(&self.key).is_some_and(|slot| slot.strong_count() == 0) {
            slots.remove(&self.key);
        }
    }
}

impl SharedDeadline {
    /// Begins with the deadline of one caller.
    pub fn new(deadline: Option<Instant>) -> Self {
        Self(Mutex::new(deadline))
    }

    /// Returns the current deadline.
    pub fn get(&self) -> Option<Instant> {
        *self.0.lock()
    }

    /// Resets it to the deadline of one caller.
    pub fn set(&self, deadline: Option<Instant>) {
        *self.0.lock() = deadline;
    }

    /// Extends it for one more caller.
    pub fn extend(&self, deadline: Option<Instant>) {
        let mut latest = self.0.lock();
        *latest = latest.zip(deadline).map(|(latest, deadline)| latest.max(deadline));
    }
}
