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
use metrics::counter;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{metric, within};
use crate::wire::{Answer, Error};

/// The output of a shared request.
pub(super) type Outcome<T> = Result<Answer<Arc<T>>, Error>;

/// See the module.
pub(super) type SharedRequest<T> = Shared<Pin<Box<dyn Future<Output = Outcome<T>> + Send>>>;

/// The shared requests of one kind. Nothing is shared between different keys.
pub(super) struct InFlight<K: Eq + Hash, T>(Arc<Slots<K, T>>);

type Slots<K, T> = Mutex<HashMap<K, Weak<Slot<K, T>>>>;

/// Held by all callers that ask for the same key. The request is dropped with the last reference to
/// the slot.
pub(super) struct Slot<K: Eq + Hash, T> {
    in_flight: InFlight<K, T>,
    key: K,
    latest: Mutex<Option<SharedRequest<T>>>,
    started: Notify,
    /// For a request that depends on how long its callers wait.
    pub deadline: Arc<SharedDeadline>,
}

/// When the last caller of a shared request stops waiting. `None` if one of them waits without a
/// limit.
#[derive(Default)]
pub(super) struct SharedDeadline(Mutex<Option<Instant>>);

impl<K: Clone + Eq + Hash, T> InFlight<K, T> {
    /// Returns the slot for `key`.
    pub fn slot(&self, key: &K) -> Arc<Slot<K, T>> {
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

impl<K: Eq + Hash, T> Slot<K, T> {
    /// Makes a call, or joins the identical call that is in flight. `start` starts a call, which ends
    /// at the deadline of the slot.
    pub async fn call<F>(&self, deadline: Option<Instant>, start: impl Fn() -> F) -> Outcome<T>
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        within(deadline, async {
            loop {
                let (call, is_joined) = self.join_or_start(|| {
                    self.deadline.set(deadline);
                    start()
                });
                if is_joined {
                    self.deadline.extend(deadline);
                    counter!(metric::SHARED_REQUESTS).increment(1);
                }
                match call.await {
                    // The call ended before it saw that this caller has more time.
                    Err(error) if is_joined && error.is_of_quota() => {}
                    outcome => return outcome,
                }
            }
        })
        .await
    }

    /// Returns the in-flight request, or starts a new one. Also returns whether the request was
    /// already in flight.
    pub fn join_or_start<F>(&self, request: impl FnOnce() -> F) -> (SharedRequest<T>, bool)
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
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
    pub async fn join(&self) -> SharedRequest<T> {
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

fn is_in_flight<T>(request: &SharedRequest<T>) -> bool {
    request.peek().is_none()
}

impl<K: Eq + Hash, T> Default for InFlight<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash, T> Drop for Slot<K, T> {
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
