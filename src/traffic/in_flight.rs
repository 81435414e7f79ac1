//! Coalescing: those who ask for the same at the same time share one request.
//!
//! A shared request is a future that its callers poll together. No task is spawned for it: it goes
//! on as long as one of them waits, and it is cancelled when the last one leaves.

use std::{
    collections::HashMap,
    future::{Future, pending},
    hash::Hash,
    pin::Pin,
    sync::Arc,
};

use futures_util::future::{FutureExt as _, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    model::Session,
    wire::{Answer, Error},
};

/// What a shared request gives.
pub(super) type Outcome = Result<Answer<Arc<Session>>, Error>;

/// See the module.
pub(super) type SharedRequest = Shared<Pin<Box<dyn Future<Output = Outcome> + Send>>>;

/// The shared requests of one kind. Nothing is shared between different keys.
pub(super) struct InFlight<K>(Arc<Mutex<State<K>>>);

struct State<K> {
    requests: HashMap<K, Entry>,
    /// Those who wait for the next request of a key.
    waiting: HashMap<K, Vec<oneshot::Sender<SharedRequest>>>,
    count: u64,
}

struct Entry {
    number: u64,
    request: WeakShared<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
    bound: Arc<Bound>,
}

/// When the last of those who share a request stops waiting.
#[derive(Debug)]
pub(super) struct Bound(Mutex<Option<Instant>>);

/// The wait for the next request of a key.
pub(super) struct Next<K: Eq + Hash> {
    in_flight: InFlight<K>,
    key: K,
    request: oneshot::Receiver<SharedRequest>,
}

impl<K: Clone + Eq + Hash + Send + 'static> InFlight<K> {
    /// The request in flight, which then has until `deadline` at least; or a new one. Also tells
    /// whether it was in flight already.
    pub fn join_or_start<F>(
        &self,
        key: &K,
        deadline: Option<Instant>,
        request: impl FnOnce(Arc<Bound>) -> F,
    ) -> (SharedRequest, bool)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut state = self.0.lock();
        if let Some(entry) = state.requests.get(key)
            && let Some(request) = entry.request.upgrade()
        {
            entry.bound.extend(deadline);
            return (request, true);
        }
        let bound = Arc::new(Bound::fixed(deadline));
        let request = request(bound.clone());
        (self.insert(&mut state, key.clone(), bound, request), false)
    }

    /// The request in flight, or else the wait for the next one.
    pub fn join(&self, key: &K) -> Result<SharedRequest, Next<K>> {
        let mut state = self.0.lock();
        if let Some(request) = state.requests.get(key).and_then(|entry| entry.request.upgrade()) {
            return Ok(request);
        }
        let (sender, request) = oneshot::channel();
        state.waiting.entry(key.clone()).or_default().push(sender);
        Err(Next { in_flight: self.clone(), key: key.clone(), request })
    }

    /// Starts a request, which all who wait for one join.
    pub fn start(
        &self,
        key: K,
        request: impl Future<Output = Outcome> + Send + 'static,
    ) -> SharedRequest {
        self.insert(&mut self.0.lock(), key, Arc::new(Bound::fixed(None)), request)
    }

    fn insert(
        &self,
        state: &mut State<K>,
        key: K,
        bound: Arc<Bound>,
        request: impl Future<Output = Outcome> + Send + 'static,
    ) -> SharedRequest {
        state.count += 1;
        let number = state.count;
        let end = End { in_flight: self.clone(), key: key.clone(), number };
        let request = async move {
            let _end = end;
            request.await
        };
        let request = (Box::pin(request) as Pin<Box<dyn Future<Output = _> + Send>>).shared();
        for waiting in state.waiting.remove(&key).unwrap_or_default() {
            // One who has left meanwhile needs none.
            let _ = waiting.send(request.clone());
        }
        if let Some(weak) = request.downgrade() {
            state.requests.insert(key, Entry { number, request: weak, bound });
        }
        request
    }
}

impl<K> Clone for InFlight<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for InFlight<K> {
    fn default() -> Self {
        let (requests, waiting) = (HashMap::new(), HashMap::new());
        Self(Arc::new(Mutex::new(State { requests, waiting, count: 0 })))
    }
}

impl<K: Eq + Hash> Next<K> {
    /// The next request, when it starts.
    pub async fn started(&mut self) -> SharedRequest {
        match (&mut self.request).await {
            Ok(request) => request,
            // The sender goes only with a request; should that ever change, there is none to join.
            Err(_) => pending().await,
        }
    }
}

impl<K: Eq + Hash> Drop for Next<K> {
    fn drop(&mut self) {
        self.request.close();
        let mut state = self.in_flight.0.lock();
        if let Some(waiting) = state.waiting.get_mut(&self.key) {
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() {
                state.waiting.remove(&self.key);
            }
        }
    }
}

impl Bound {
    /// A bound that begins with one deadline.
    pub fn fixed(deadline: Option<Instant>) -> Self {
        Self(Mutex::new(deadline))
    }

    /// When that is, as far as is known by now; nothing if somebody waits as long as it takes.
    pub fn get(&self) -> Option<Instant> {
        *self.0.lock()
    }

    fn extend(&self, deadline: Option<Instant>) {
        let mut bound = self.0.lock();
        *bound = bound.zip(deadline).map(|(bound, deadline)| bound.max(deadline));
    }
}

/// Removes a request that has ended, or that everybody has left.
struct End<K: Eq + Hash> {
    in_flight: InFlight<K>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash> Drop for End<K> {
    fn drop(&mut self) {
        let mut state = self.in_flight.0.lock();
        if state.requests.get(&self.key).is_some_and(|entry| entry.number == self.number) {
            state.requests.remove(&self.key);
        }
    }
}
