//! Concurrency limits for unary calls and watches. Each call holds a permit until it ends. A call
//! that gets no permit is refused at once.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tonic::Status;

use super::status;
use crate::{
    credential::{Credential, CredentialId},
    feed::Key,
    model::SessionId,
};

/// The limits on unary calls, for the process and for each caller.
#[derive(Clone, Debug)]
pub struct CallConcurrency {
    all: Arc<Semaphore>,
    callers: KeyedCounts<CredentialId>,
    per_caller: usize,
}

/// The permit of a unary call.
#[derive(Debug)]
pub(super) struct CallPermit<'a> {
    _in_process: SemaphorePermit<'a>,
    _of_caller: Option<Counted<CredentialId>>,
}

/// The limits on watches, for the process, for each caller, and for each session and credential.
#[derive(Clone, Debug)]
pub(super) struct WatchConcurrency {
    limits: Limits,
    all: Arc<Semaphore>,
    callers: KeyedCounts<CredentialId>,
    sessions: KeyedCounts<(CredentialId, SessionId)>,
}

/// The greatest numbers of concurrent watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub in_process: usize,
    pub per_caller: usize,
    pub per_session: usize,
}

/// The permit of a watch.
#[derive(Debug)]
pub(super) struct WatchPermit {
    _in_process: OwnedSemaphorePermit,
    _of_caller: Counted<CredentialId>,
    _of_session: Counted<(CredentialId, SessionId)>,
}

impl CallConcurrency {
    /// Allows up to `limit` calls. One caller gets at most half of them, so that no caller can
    /// block all others.
    pub fn new(limit: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            callers: KeyedCounts::default(),
            per_caller: limit.div_ceil(2),
        }
    }

    pub(super) fn admit(&self, credential: &Credential) -> Result<CallPermit<'_>, Status> {
        let full = |whose| move || status::too_many_calls(whose);
        let in_process = self.all.try_acquire().map_err(|_| full("server")())?;
        let of_caller = match credential.known_caller() {
            Some(caller) => {
                Some(self.callers.acquire(caller, self.per_caller).ok_or_else(full("caller"))?)
            }
            None => None,
        };
        Ok(CallPermit { _in_process: in_process, _of_caller: of_caller })
    }
}

impl WatchConcurrency {
    pub fn new(limits: Limits) -> Self {
        let limits = Limits { in_process: limits.in_process.min(Semaphore::MAX_PERMITS), ..limits };
        Self {
            all: Arc::new(Semaphore::new(limits.in_process)),
            callers: KeyedCounts::default(),
            sessions: KeyedCounts::default(),
            limits,
        }
    }

    /// Returns the number of open watches.
    pub fn in_use(&self) -> usize {
        self.limits.in_process - self.all.available_permits()
    }

    pub fn admit(&self, key: &Key) -> Result<WatchPermit, Status> {
        let full = |whose| move || status::too_many_watches(whose);
        let Key { credential, session } = key;
        let in_process = self.all.clone().try_acquire_owned().map_err(|_| full("server")())?;
        let of_caller = self
            .callers
            .acquire(credential.caller(), self.limits.per_caller)
            .ok_or_else(full("caller"))?;
        let of_session = self
            .sessions
            .acquire((credential.id(), session.clone()), self.limits.per_session)
            .ok_or_else(full("session"))?;
        Ok(WatchPermit { _in_process: in_process, _of_caller: of_caller, _of_session: of_session })
    }
}

/// A count for each key that is in use.
#[derive(Debug)]
struct KeyedCounts<K>(Arc<Mutex<HashMap<K, usize>>>);

/// Adds one to the count of its key until it is dropped.
#[derive(Debug)]
struct Counted<K: Eq + Hash> {
    key: K,
    counts: KeyedCounts<K>,
}

impl<K: Clone + Eq + Hash> KeyedCounts<K> {
    fn acquire(&self, key: K, limit: usize) -> Option<Counted<K>> {
        let mut counts = self.0.lock();
        let count = counts.get(&key).copied().unwrap_or(0);
        (count < limit).then(|| {
            counts.insert(key.clone(), count + 1);
            Counted { key, counts: self.clone() }
        })
    }
}

impl<K> Clone for KeyedCounts<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for KeyedCounts<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    fn key(token: &str, session: &str) -> Key {
        let credential = Credential::from_authorization(&format!("Bearer {token}")).unwrap();
        Key { credential, session: session.parse().unwrap() }
    }

    fn full(limits: &WatchConcurrency, key: &Key) -> String {
        let refusal = limits.admit(key).unwrap_err();
        refusal.get_details_quota_failure().unwrap().violations[0].subject.clone()
    }

    #[test]
    fn each_limit_counts_separately_and_releases_permits() {
        let limits = WatchConcurrency::new(Limits { in_process: 4, per_caller: 3, per_session: 2 });
        let first = limits.admit(&key("a", "1")).unwrap();
        let second = limits.admit(&key("a", "1")).unwrap();
        assert_eq!(full(&limits, &key("a", "1")), "watches of one session");
        let third = limits.admit(&key("a", "2")).unwrap();
        assert_eq!(full(&limits, &key("a", "3")), "watches of one caller");
        let other = limits.admit(&key("b", "1")).unwrap();
        assert_eq!(full(&limits, &key("c", "1")), "watches of one server");
        assert_eq!(limits.in_use(), 4);

        drop((first, third));
        assert_eq!(limits.in_use(), 2);
        let again = limits.admit(&key("a", "1")).unwrap();
        drop((second, other, again));
        assert_eq!(limits.in_use(), 0);
        assert!(limits.callers.0.lock().is_empty());
        assert!(limits.sessions.0.lock().is_empty());
    }

    #[test]
    fn a_call_over_the_limit_is_pushed_back_and_a_later_one_is_served() {
        let calls = CallConcurrency::new(1);
        let permit = calls.admit(&Credential::SERVICE).unwrap();
        let refusal = calls.admit(&Credential::SERVICE).unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert!(refusal.metadata().contains_key("grpc-retry-pushback-ms"));
        assert!(refusal.get_details_retry_info().is_some());
        assert_eq!(refusal.get_details_error_info().unwrap().reason, "OVERLOADED");
        drop(permit);
        assert!(calls.admit(&Credential::SERVICE).is_ok());
    }

    #[test]
    fn one_caller_gets_at_most_half_of_the_calls() {
        let calls = CallConcurrency::new(6);
        let subject = |credential: &Credential| {
            let refusal = calls.admit(credential).unwrap_err();
            refusal.get_details_quota_failure().unwrap().violations[0].subject.clone()
        };
        let (a, b, c) =
            (key("a", "1").credential, key("b", "1").credential, key("c", "1").credential);
        let mut permits: Vec<_> = (0..3).map(|_| calls.admit(&a).unwrap()).collect();
        assert_eq!(subject(&a), "calls of one caller");
        permits.extend((0..3).map(|_| calls.admit(&b).unwrap()));
        assert_eq!(subject(&c), "calls of one server");
        drop(permits);
        assert!(calls.callers.0.lock().is_empty());
        let _all: Vec<_> = (0..6).map(|_| calls.admit(&Credential::SERVICE).unwrap()).collect();
    }
}
