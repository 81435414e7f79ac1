//! How much the service takes on at once: places for unary calls and for watches. Who finds none is
//! refused at once, and a place is free again when whoever has it drops it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tonic::Status;

use super::status;
use crate::{
    credential::{Credential, CredentialId},
    feed::Key,
    model::SessionId,
};

/// The places of unary calls: of all, and of each caller.
#[derive(Clone, Debug)]
pub struct Calls {
    places: Arc<Semaphore>,
    callers: Crowds<CredentialId>,
    per_caller: usize,
}

/// The right to be one of the unary calls, until it is dropped.
#[derive(Debug)]
pub(super) struct CallPlace<'a> {
    _in_process: SemaphorePermit<'a>,
    _of_caller: Option<Member<CredentialId>>,
}

/// The places of watches: of all, of each caller, and of each session as one credential sees it.
#[derive(Clone, Debug)]
pub(super) struct WatchPlaces {
    limits: Limits,
    all: Arc<Semaphore>,
    callers: Crowds<CredentialId>,
    sessions: Crowds<(CredentialId, SessionId)>,
}

/// How many watches there may be at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub in_process: usize,
    pub per_caller: usize,
    pub per_session: usize,
}

/// The right to be one of the watches, until it is dropped.
#[derive(Debug)]
pub(super) struct WatchPlace {
    _in_process: OwnedSemaphorePermit,
    _of_caller: Member<CredentialId>,
    _of_session: Member<(CredentialId, SessionId)>,
}

impl Calls {
    /// So many places. One caller gets no more than half of them, so that no caller can keep all
    /// others out.
    pub fn new(limit: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            callers: Crowds::default(),
            per_caller: limit.div_ceil(2),
        }
    }

    pub(super) fn admit(&self, credential: &Credential) -> Result<CallPlace<'_>, Status> {
        let full = |whose| move || status::too_many_calls(whose);
        let in_process = self.places.try_acquire().map_err(|_| full("server")())?;
        let of_caller = match credential.known_caller() {
            Some(caller) => {
                Some(self.callers.join(caller, self.per_caller).ok_or_else(full("caller"))?)
            }
            None => None,
        };
        Ok(CallPlace { _in_process: in_process, _of_caller: of_caller })
    }
}

impl WatchPlaces {
    pub fn new(limits: Limits) -> Self {
        let limits = Limits { in_process: limits.in_process.min(Semaphore::MAX_PERMITS), ..limits };
        Self {
            all: Arc::new(Semaphore::new(limits.in_process)),
            callers: Crowds::default(),
            sessions: Crowds::default(),
            limits,
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.limits.in_process - self.all.available_permits()
    }

    pub fn admit(&self, key: &Key) -> Result<WatchPlace, Status> {
        let full = |whose| move || status::too_many_watches(whose);
        let Key { credential, session } = key;
        let in_process = self.all.clone().try_acquire_owned().map_err(|_| full("server")())?;
        let of_caller = self
            .callers
            .join(credential.caller(), self.limits.per_caller)
            .ok_or_else(full("caller"))?;
        let of_session = self
            .sessions
            .join((credential.id(), session.clone()), self.limits.per_session)
            .ok_or_else(full("session"))?;
        Ok(WatchPlace { _in_process: in_process, _of_caller: of_caller, _of_session: of_session })
    }
}

/// How many there are of each; only of those that there are.
#[derive(Debug)]
struct Crowds<K>(Arc<Mutex<HashMap<K, usize>>>);

/// One of a crowd.
#[derive(Debug)]
struct Member<K: Eq + Hash> {
    key: K,
    crowds: Crowds<K>,
}

impl<K: Clone + Eq + Hash> Crowds<K> {
    fn join(&self, key: K, limit: usize) -> Option<Member<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&key).copied().unwrap_or(0);
        (count < limit).then(|| {
            counts.insert(key.clone(), count + 1);
            Member { key, crowds: self.clone() }
        })
    }
}

impl<K> Clone for Crowds<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Crowds<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Drop for Member<K> {
    fn drop(&mut self) {
        let mut counts = self.crowds.0.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn full(places: &WatchPlaces, key: &Key) -> String {
        let refusal = places.admit(key).unwrap_err();
        refusal.get_details_quota_failure().unwrap().violations[0].subject.clone()
    }

    #[test]
    fn each_limit_binds_its_own_and_forgets_who_left() {
        let places = WatchPlaces::new(Limits { in_process: 4, per_caller: 3, per_session: 2 });
        let first = places.admit(&key("a", "1")).unwrap();
        let second = places.admit(&key("a", "1")).unwrap();
        assert_eq!(full(&places, &key("a", "1")), "watches of one session");
        let third = places.admit(&key("a", "2")).unwrap();
        assert_eq!(full(&places, &key("a", "3")), "watches of one caller");
        let other = places.admit(&key("b", "1")).unwrap();
        assert_eq!(full(&places, &key("c", "1")), "watches of one server");
        assert_eq!(places.taken(), 4);

        drop((first, third));
        assert_eq!(places.taken(), 2);
        let again = places.admit(&key("a", "1")).unwrap();
        drop((second, other, again));
        assert_eq!(places.taken(), 0);
        assert!(places.callers.0.lock().unwrap().is_empty());
        assert!(places.sessions.0.lock().unwrap().is_empty());
    }

    #[test]
    fn one_call_too_many_is_pushed_back_and_the_next_served() {
        let calls = Calls::new(1);
        let place = calls.admit(&Credential::SERVICE).unwrap();
        let refusal = calls.admit(&Credential::SERVICE).unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert!(refusal.metadata().contains_key("grpc-retry-pushback-ms"));
        assert!(refusal.get_details_retry_info().is_some());
        assert_eq!(refusal.get_details_error_info().unwrap().reason, "OVERLOADED");
        drop(place);
        assert!(calls.admit(&Credential::SERVICE).is_ok());
    }

    #[test]
    fn one_caller_gets_half_of_the_places_for_calls() {
        let calls = Calls::new(6);
        let subject = |credential: &Credential| {
            let refusal = calls.admit(credential).unwrap_err();
            refusal.get_details_quota_failure().unwrap().violations[0].subject.clone()
        };
        let (a, b, c) =
            (key("a", "1").credential, key("b", "1").credential, key("c", "1").credential);
        let mut places: Vec<_> = (0..3).map(|_| calls.admit(&a).unwrap()).collect();
        assert_eq!(subject(&a), "calls of one caller");
        places.extend((0..3).map(|_| calls.admit(&b).unwrap()));
        assert_eq!(subject(&c), "calls of one server");
        drop(places);
        assert!(calls.callers.0.lock().unwrap().is_empty());
        let _all: Vec<_> = (0..6).map(|_| calls.admit(&Credential::SERVICE).unwrap()).collect();
    }
}
