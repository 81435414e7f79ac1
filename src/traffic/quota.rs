//! Limits how often the vendor is asked, and decides which request is next. Every request passes
//! through the quota.
//!
//! The budget of the [`fleet`](crate::fleet) decides **when** a request is sent. A token bucket
//! spreads the requests and allows a burst after a quiet time. A log of the latest admissions keeps
//! every window of a second within the quota. `queue` decides **which** request is next. Unary calls
//! go before watches. Callers of unary calls take turns. Among the watches, polls with a hint go
//! first, in the order of their hints. The others are ordered by how much they would learn. While
//! watches wait, they get one admission in [`WATCH_SHARE`], so that a flood of unary calls slows them
//! down but never stops them. Polls without a hint get one poll in [`ROUTINE_SHARE`] in the same way.
//! `bucket` has the dispatcher, the task that admits the waiting requests.
//!
//! A 429 halves the rate at once. Good answers raise it again slowly.

mod bucket;
pub(crate) mod class;
mod queue;
mod refusal;
mod settings;
mod snapshot;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    credential::CredentialId,
    fleet::{Fleet, Permit},
    wire::Error,
};
use bucket::Bucket;

pub use self::{
    bucket::LONGEST_SILENCE,
    class::{Class, Hint, Urgency},
    queue::{ROUTINE_SHARE, WATCH_SHARE},
    settings::{Scope, Settings},
    snapshot::Snapshot,
};

/// The greatest number of buckets under [`Scope::Credential`].
const MAX_BUCKETS: usize = 16_384;

/// The number of buckets at which the idle ones are removed for the first time.
const FIRST_SWEEP: usize = 64;

/// Admits requests to the vendor.
pub struct Quota {
    settings: Settings,
    fleet: Fleet,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    /// Either a single bucket without a key, or a bucket for each credential.
    by_credential: HashMap<Option<CredentialId>, Arc<Bucket>>,
    sweep_at: usize,
}

impl Quota {
    /// Creates an unused quota of a process on its own.
    pub fn new(settings: Settings) -> Self {
        Self::in_fleet(settings, Fleet::alone())
    }

    /// Creates an unused quota, which may be shared with other replicas. If it is, this must run in
    /// a runtime, and [`Scope::Process`] is the only scope.
    pub fn in_fleet(settings: Settings, fleet: Fleet) -> Self {
        let mut buckets = Buckets { by_credential: HashMap::new(), sweep_at: FIRST_SWEEP };
        if fleet.is_shared() {
            // The replica joins before the first request.
            buckets.by_credential.insert(None, Arc::new(Bucket::new(&settings, &fleet)));
        }
        Self { settings, fleet, buckets: Mutex::new(buckets) }
    }

    /// Returns the fleet that shares this quota.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Waits until one request may be sent. Dropping the future leaves the queue.
    ///
    /// A unary call waits until `deadline` at most. It fails with
    /// [`Kind::QuotaExhausted`](crate::wire::Kind::QuotaExhausted) at once if its turn would come
    /// later, or if the queue is full. `retry_after` is then the time until its turn. A watch waits
    /// without a limit.
    ///
    /// While the vendor wants a pause (429 with Retry-After), the error is
    /// [`Kind::RateLimited`](crate::wire::Kind::RateLimited), and `retry_after` is at least the
    /// rest of the pause. A unary call gets it if its deadline is before the end of the pause. A
    /// watch gets it if the pause lasts longer than [`LONGEST_SILENCE`], so that its watchers learn
    /// about the pause. Requests that are already waiting when the pause begins get it too.
    pub async fn admit(
        &self,
        credential: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<Permit, Error> {
        self.admit_for(credential, credential, class, deadline).await
    }

    /// Like [`Quota::admit`], for one of several callers who share the service's credential. The
    /// callers take turns.
    pub async fn admit_for(
        &self,
        caller: CredentialId,
        credential: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<Permit, Error> {
        self.bucket(credential)?.admit(caller, class, deadline).await
    }

    /// Records a 429: halves the rate, and admits no request for `retry_after` (an hour at most).
    /// Several 429s within a second count as one.
    pub fn slow_down(&self, credential: CredentialId, retry_after: Option<Duration>) {
        if let Ok(bucket) = self.bucket(credential) {
            bucket.slow_down(retry_after);
        }
    }

    /// Records any answer but 429: raises the rate a little, up to the limit.
    pub fn speed_up(&self, credential: CredentialId) {
        let bucket = self.buckets.lock().by_credential.get(&self.key(credential)).cloned();
        // A removed bucket needs nothing: a new one begins at the full rate.
        if let Some(bucket) = bucket {
            bucket.speed_up();
        }
    }

    /// Returns the current state.
    pub fn snapshot(&self) -> Snapshot {
        let buckets: Vec<_> = self.buckets.lock().by_credential.values().cloned().collect();
        let snapshots = buckets.iter().map(|bucket| bucket.snapshot());
        snapshots.fold(Snapshot::unused(self.settings.rps), Snapshot::merge)
    }

    fn key(&self, credential: CredentialId) -> Option<CredentialId> {
        match self.settings.scope {
            Scope::Process => None,
            Scope::Credential if self.fleet.is_shared() => None,
            Scope::Credential => Some(credential),
        }
    }

    fn bucket(&self, credential: CredentialId) -> Result<Arc<Bucket>, Error> {
        self.buckets.lock().get_or_insert(self.key(credential), &self.settings, &self.fleet)
    }
}

impl Buckets {
    fn get_or_insert(
        &mut self,
        key: Option<CredentialId>,
        settings: &Settings,
        fleet: &Fleet,
    ) -> Result<Arc<Bucket>, Error> {
        if let Some(bucket) = self.by_credential.get(&key) {
            return Ok(bucket.clone());
        }
        if self.by_credential.len() >= self.sweep_at {
            // A bucket with one owner is unused: requests clone their `Arc` under the lock that is
            // held here.
            self.by_credential
                .retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_idle());
            self.sweep_at = (self.by_credential.len() * 2).clamp(FIRST_SWEEP, MAX_BUCKETS);
        }
        if self.by_credential.len() >= MAX_BUCKETS {
            return Err(refusal::exhausted(Duration::from_secs(1)));
        }
        let bucket = Arc::new(Bucket::new(settings, fleet));
        self.by_credential.insert(key, bucket.clone());
        Ok(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;

    #[tokio::test(start_paused = true)]
    async fn idle_buckets_are_removed() {
        let settings = Settings { rps: 8.0, burst: 8, scope: Scope::Credential, queue_limit: 10 };
        let quota = Quota::new(settings);
        for round in 0..20 {
            for caller in 0..FIRST_SWEEP {
                let token = format!("Bearer {round}-{caller}");
                let id = Credential::from_authorization(&token).unwrap().id();
                quota.admit(id, Class::Unary, None).await.unwrap();
            }
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        assert!(quota.buckets.lock().by_credential.len() <= 2 * FIRST_SWEEP);
    }
}
