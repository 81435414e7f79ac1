//! The limits on watches, for the process, for each caller, and for each session and credential. A
//! session on a stream of `WatchSessions` counts as a watch. The streams are limited too.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::Arc,
};

use parking_lot::Mutex;
use tonic::Status;

use crate::{
    credential::{Credential, CredentialId},
    feed::Key,
    grpc::status,
    model::SessionId,
};

/// Limits the concurrent watches. All clones share the counts.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct WatchConcurrency(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    counts: Mutex<Counts>,
}

/// The greatest numbers of concurrent watches, and of streams with many watches.
#[derive(Clone, Copy, Debug)]
pub(in crate::grpc) struct Limits {
    pub in_process: usize,
    pub per_caller: usize,
    pub per_session: usize,
    pub streams: usize,
    pub streams_per_caller: usize,
}

#[derive(Debug, Default)]
struct Counts {
    watches: usize,
    streams: usize,
    by_caller: HashMap<CredentialId, usize>,
    streams_by_caller: HashMap<CredentialId, usize>,
    by_session: HashMap<(CredentialId, SessionId), usize>,
}

/// The permit of a watch.
#[derive(Debug)]
pub(in crate::grpc) struct WatchPermit {
    holder: Arc<Holder>,
    session: SessionId,
}

/// The permit of a stream with many watches.
#[derive(Debug)]
pub(in crate::grpc) struct StreamPermit(Arc<Holder>);

/// Who holds permits. All watches of a stream share it, so that each takes little memory.
#[derive(Debug)]
struct Holder {
    concurrency: WatchConcurrency,
    credential: CredentialId,
    caller: CredentialId,
    /// Whether it counts as a stream.
    is_stream: bool,
}

impl WatchConcurrency {
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, counts: Mutex::default() }))
    }

    /// Returns the number of open watches.
    pub fn in_use(&self) -> usize {
        self.0.counts.lock().watches
    }

    /// Admits a watch with a stream of its own.
    pub fn admit(&self, key: &Key) -> Result<WatchPermit, Status> {
        Arc::new(self.holder(&key.credential, false)).admit(&key.session)
    }

    /// Admits a stream for many watches.
    pub fn admit_stream(&self, credential: &Credential) -> Result<StreamPermit, Status> {
        let limits = &self.0.limits;
        let holder = {
            let mut counts = self.0.counts.lock();
            if counts.streams >= limits.streams {
                return Err(status::too_many_streams("server"));
            }
            let of_caller = (credential.caller(), limits.streams_per_caller);
            if !add(&mut counts.streams_by_caller, of_caller) {
                return Err(status::too_many_streams("caller"));
            }
            counts.streams += 1;
            self.holder(credential, true)
        };
        Ok(StreamPermit(Arc::new(holder)))
    }

    fn holder(&self, credential: &Credential, is_stream: bool) -> Holder {
        Holder {
            concurrency: self.clone(),
            credential: credential.id(),
            caller: credential.caller(),
            is_stream,
        }
    }
}

impl StreamPermit {
    /// Admits a watch on the stream.
    pub fn admit(&self, session: &SessionId) -> Result<WatchPermit, Status> {
        self.0.clone().admit(session)
    }
}

impl Holder {
    fn admit(self: Arc<Self>, session: &SessionId) -> Result<WatchPermit, Status> {
        let Shared { limits, counts } = &*self.concurrency.0;
        let mut counts = counts.lock();
        if counts.watches >= limits.in_process {
            return Err(status::too_many_watches("server"));
        }
        if !add(&mut counts.by_caller, (self.caller, limits.per_caller)) {
            return Err(status::too_many_watches("caller"));
        }
        let of_session = ((self.credential, session.clone()), limits.per_session);
        if !add(&mut counts.by_session, of_session) {
            remove(&mut counts.by_caller, self.caller);
            return Err(status::too_many_watches("session"));
        }
        counts.watches += 1;
        drop(counts);
        Ok(WatchPermit { holder: self, session: session.clone() })
    }
}

impl Drop for WatchPermit {
    fn drop(&mut self) {
        let Holder { concurrency, credential, caller, .. } = &*self.holder;
        let mut counts = concurrency.0.counts.lock();
        counts.watches -= 1;
        remove(&mut counts.by_caller, *caller);
        remove(&mut counts.by_session, (*credential, self.session.clone()));
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.is_stream {
            let mut counts = self.concurrency.0.counts.lock();
            counts.streams -= 1;
            remove(&mut counts.streams_by_caller, self.caller);
        }
    }
}

/// Adds one to the count of the key, unless it has reached the limit.
fn add<K: Eq + Hash>(counts: &mut HashMap<K, usize>, (key, limit): (K, usize)) -> bool {
    if limit == 0 {
        return false;
    }
    let count = counts.entry(key).or_default();
    let has_room = *count < limit;
    *count += usize::from(has_room);
    has_room
}

fn remove<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
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

    fn subject<T>(refused: Result<T, Status>) -> String {
        let refusal = refused.err().unwrap();
        refusal.get_details_quota_failure().unwrap().violations[0].subject.clone()
    }

    const LIMITS: Limits =
        Limits { in_process: 4, per_caller: 3, per_session: 2, streams: 3, streams_per_caller: 2 };

    #[test]
    fn each_limit_counts_separately_and_releases_permits() {
        let limits = WatchConcurrency::new(LIMITS);
        let full = |key: &Key| subject(limits.admit(key));
        let first = limits.admit(&key("a", "1")).unwrap();
        let second = limits.admit(&key("a", "1")).unwrap();
        assert_eq!(full(&key("a", "1")), "watches of one session");
        let third = limits.admit(&key("a", "2")).unwrap();
        assert_eq!(full(&key("a", "3")), "watches of one caller");
        let other = limits.admit(&key("b", "1")).unwrap();
        assert_eq!(full(&key("c", "1")), "watches of one server");
        assert_eq!(limits.in_use(), 4);

        drop((first, third));
        assert_eq!(limits.in_use(), 2);
        let again = limits.admit(&key("a", "1")).unwrap();
        drop((second, other, again));
        assert_eq!(limits.in_use(), 0);
        let counts = limits.0.counts.lock();
        assert!(counts.by_caller.is_empty() && counts.by_session.is_empty());
    }

    #[test]
    fn streams_have_limits_of_their_own_and_their_sessions_count_as_watches() {
        let limits = WatchConcurrency::new(LIMITS);
        let stream = |token| limits.admit_stream(&key(token, "1").credential);
        let (first, second) = (stream("a").unwrap(), stream("a").unwrap());
        assert_eq!(subject(stream("a")), "streams of one caller");
        let third = stream("b").unwrap();
        assert_eq!(subject(stream("c")), "streams of one server");
        assert_eq!(limits.in_use(), 0);

        let session = |number: &str| number.parse().unwrap();
        let watches = ["1", "2", "3"].map(|number| first.admit(&session(number)).unwrap());
        assert_eq!(subject(second.admit(&session("4"))), "watches of one caller");
        assert_eq!(subject(limits.admit(&key("a", "4"))), "watches of one caller");
        // A watch keeps the stream's place until it has ended too.
        drop((first, third));
        assert_eq!(subject(stream("a")), "streams of one caller");
        drop((watches, second));
        let counts = limits.0.counts.lock();
        assert_eq!((counts.watches, counts.streams), (0, 0));
        assert!(counts.streams_by_caller.is_empty() && counts.by_session.is_empty());
    }
}
