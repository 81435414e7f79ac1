//! Concurrency limits for unary calls and watches. Each call holds a permit until it ends. A call
//! that gets no permit is refused at once.

mod watches;

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

pub(super) use self::watches::{Limits, StreamPermit, WatchConcurrency, WatchPermit};
use super::status;
use crate::credential::{Credential, CredentialId};

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

    fn credential(token: &str) -> Credential {
        Credential::from_authorization(&format!("Bearer {token}")).unwrap()
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
        let (a, b, c) = (credential("a"), credential("b"), credential("c"));
        let mut permits: Vec<_> = (0..3).map(|_| calls.admit(&a).unwrap()).collect();
        assert_eq!(subject(&a), "calls of one caller");
        permits.extend((0..3).map(|_| calls.admit(&b).unwrap()));
        assert_eq!(subject(&c), "calls of one server");
        drop(permits);
        assert!(calls.callers.0.lock().is_empty());
        let _all: Vec<_> = (0..6).map(|_| calls.admit(&Credential::SERVICE).unwrap()).collect();
    }
}
