//! How often the vendor may be asked, and whose turn it is. Every request passes here, and nothing
//! else counts against the quota.
//!
//! `pace` decides **when**: a token bucket spreads the requests and allows a burst after a quiet time,
//! and a log of the latest admissions keeps every window of a second within the quota. `queue` decides
//! **who**: unary calls go before watches. Callers of unary calls take turns; watches go by what a
//! poll would learn. While watches wait, one admission in [`WATCH_SHARE`] is for them, so that a flood
//! of unary calls slows them down but never stops them. `bucket` has the task that admits the
//! requests that wait.
//!
//! A 429 halves the rate at once, and good answers raise it again slowly.

mod bucket;
pub(crate) mod class;
mod pace;
mod queue;
mod refusal;
mod settings;
mod snapshot;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{credential::CredentialId, wire::Error};
use bucket::Bucket;

pub use self::{
    bucket::LONGEST_SILENCE,
    class::{Class, Urgency},
    queue::WATCH_SHARE,
    settings::{Scope, Settings},
    snapshot::Snapshot,
};

/// The most buckets under [`Scope::Credential`].
const MAX_BUCKETS: usize = 16_384;

/// The number of buckets at which the idle ones are removed for the first time.
const FIRST_SWEEP: usize = 64;

/// Admits requests to the vendor.
pub struct Quota {
    settings: Settings,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    /// One without a key, or one for each credential.
    by_credential: HashMap<Option<CredentialId>, Arc<Bucket>>,
    sweep_at: usize,
}

impl Quota {
    /// A quota of which nothing is used yet.
    pub fn new(settings: Settings) -> Self {
        let buckets = Buckets { by_credential: HashMap::new(), sweep_at: FIRST_SWEEP };
        Self { settings, buckets: Mutex::new(buckets) }
    }

    /// Waits until one request may be sent. A caller that drops the future leaves the queue.
    ///
    /// A unary call waits until `deadline` at most. It fails with
    /// [`Kind::QuotaExhausted`](crate::wire::Kind::QuotaExhausted) at once if its turn would come
    /// later, or if the queue is full; `retry_after` is then the time until its turn. A watch waits as
    /// long as it takes.
    ///
    /// While the vendor wants a pause (429 with Retry-After), the error is
    /// [`Kind::RateLimited`](crate::wire::Kind::RateLimited), and `retry_after` is at least the rest
    /// of the pause. A unary call gets it if its deadline is before the end of the pause. A watch gets
    /// it if the pause lasts longer than [`LONGEST_SILENCE`], so that its watchers hear of it.
    /// Requests that wait already when the pause begins get it too.
    pub async fn admit(
        &self,
        credential: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.admit_for(credential, credential, class, deadline).await
    }

    /// The same for one of several callers who share a credential (the service's own): the callers
    /// take turns.
    pub async fn admit_for(
        &self,
        caller: CredentialId,
        credential: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.bucket(credential)?.admit(caller, class, deadline).await
    }

    /// The vendor answered 429: sends half as many requests from now on, and none for `retry_after`
    /// (an hour at most). Several 429s within a second count as one.
    pub fn slow_down(&self, credential: CredentialId, retry_after: Option<Duration>) {
        if let Ok(bucket) = self.bucket(credential) {
            bucket.slow_down(retry_after);
        }
    }

    /// The vendor answered anything but 429: sends a little more often, up to the limit.
    pub fn speed_up(&self, credential: CredentialId) {
        let bucket = self.buckets.lock().by_credential.get(&self.key(credential)).cloned();
        // A bucket that was removed is at the full rate.
        if let Some(bucket) = bucket {
            bucket.speed_up();
        }
    }

    /// The present state.
    pub fn snapshot(&self) -> Snapshot {
        let buckets: Vec<_> = self.buckets.lock().by_credential.values().cloned().collect();
        let snapshots = buckets.iter().map(|bucket| bucket.snapshot());
        snapshots.fold(Snapshot::unused(self.settings.rps), Snapshot::merge)
    }

    fn key(&self, credential: CredentialId) -> Option<CredentialId> {
        match self.settings.scope {
            Scope::Process => None,
            Scope::Credential => Some(credential),
        }
    }

    fn bucket(&self, credential: CredentialId) -> Result<Arc<Bucket>, Error> {
        self.buckets.lock().get_or_insert(self.key(credential), &self.settings)
    }
}

impl Buckets {
    fn get_or_insert(
        &mut self,
        key: Option<CredentialId>,
        settings: &Settings,
    ) -> Result<Arc<Bucket>, Error> {
        if let Some(bucket) = self.by_credential.get(&key) {
            return Ok(bucket.clone());
        }
        if self.by_credential.len() >= self.sweep_at {
            // A bucket with one owner is not in use: others get theirs under the lock that we hold.
            self.by_credential
                .retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_idle());
            self.sweep_at = (self.by_credential.len() * 2).clamp(FIRST_SWEEP, MAX_BUCKETS);
        }
        if self.by_credential.len() >= MAX_BUCKETS {
            return Err(refusal::exhausted(Duration::from_secs(1)));
        }
        let bucket = Arc::new(Bucket::new(settings));
        self.by_credential.insert(key, bucket.clone());
        Ok(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;

    #[tokio::test(start_paused = true)]
    async fn idle_buckets_of_credentials_are_given_up() {
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
