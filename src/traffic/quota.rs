//! How often the vendor may be asked, and whose turn it is. Every request goes through here; the
//! only place that counts against the quota.
//!
//! **When** (`pace`): a token bucket spreads the requests and allows a burst after a quiet time;
//! a log of the latest admissions holds the hard limit: in no window of a second more than the
//! quota. **Who** (`queue`): unary calls before watches, in turn between callers, in order of
//! arrival within one; then the watches that would learn most. While watches wait, one admission
//! in [`WATCH_SHARE`] is theirs, so that a flood of unary calls slows them without blinding them.
//!
//! A 429 halves the rate at once, and good answers bring it back slowly.

mod bucket;
pub(crate) mod class;
mod pace;
mod queue;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use self::bucket::Bucket;
use crate::{
    credential::CredentialId,
    wire::{Error, Kind},
};

pub use self::{
    class::{Class, Urgency},
    queue::WATCH_SHARE,
};

/// The most buckets kept under [`Scope::Credential`].
const MAX_BUCKETS: usize = 16_384;

/// How many buckets there are before the idle ones are looked for.
const FIRST_SWEEP: usize = 64;

/// While the vendor wants a pause, a watch waits silently only if it ends within this time.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// Who shares one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All credentials: they belong to one vendor client.
    Process,
    /// Each credential has a quota of its own: every caller brings its own vendor client.
    Credential,
}

/// How much may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests per second; at most the whole number below it in any window of a second. Under one,
    /// a single request in each `1 / rps` seconds.
    pub rps: f64,
    /// Requests at once after a quiet time; never more than `rps`, whatever is set.
    pub burst: u32,
    /// Who shares it.
    pub scope: Scope,
    /// Unary calls that may wait at once. When full, the caller with the most waiting calls
    /// loses the latest of them.
    pub queue_limit: usize,
}

/// What a status page shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// Requests per second allowed now; below `limit` after a 429. The lowest, if each credential
    /// has its own.
    pub rate: f64,
    /// Requests per second allowed at best.
    pub limit: f64,
    /// Requests admitted in the latest second.
    pub used: usize,
    /// Unary calls that wait for their turn.
    pub waiting_unary: usize,
    /// Watches that wait for their turn.
    pub waiting_watches: usize,
    /// How long the vendor wants to be left alone (Retry-After); zero if it does not. The longest,
    /// if each credential has its own.
    pub pause: Duration,
}

/// Admits requests to the vendor.
#[derive(Debug)]
pub struct Quota {
    settings: Settings,
    buckets: Buckets,
}

#[derive(Debug)]
enum Buckets {
    Shared(Arc<Bucket>),
    Each(Mutex<Kept>),
}

#[derive(Debug)]
struct Kept {
    buckets: HashMap<CredentialId, Arc<Bucket>>,
    sweep_at: usize,
}

impl Quota {
    /// A quota nothing of which is used yet.
    pub fn new(settings: Settings) -> Self {
        let buckets = match settings.scope {
            Scope::Process => Buckets::Shared(Arc::new(Bucket::new(&settings))),
            Scope::Credential => {
                Buckets::Each(Mutex::new(Kept { buckets: HashMap::new(), sweep_at: FIRST_SWEEP }))
            }
        };
        Self { settings, buckets }
    }

    /// Waits until one request may be sent. Dropping the future gives up the place.
    ///
    /// A unary call waits until `deadline` at most, and fails with [`Kind::QuotaExhausted`] at once
    /// if its turn would come later or too many wait already; `retry_after` then says when its turn
    /// would be. A watch waits as long as it takes.
    ///
    /// While the vendor wants a pause (429 with Retry-After), the error is [`Kind::RateLimited`]: for
    /// a unary call whose deadline comes before the end of the pause, and for a watch if more than
    /// [`LONGEST_SILENCE`] of it is left, so that its watchers can be told. Those who wait already
    /// when the pause begins get it too. `retry_after` is what is left of the pause, at least.
    pub async fn admit(
        &self,
        credential: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.admit_for(credential, credential, class, deadline).await
    }

    /// The same for one of several callers who share a credential (the service's own): the turns go
    /// round between them.
    pub async fn admit_for(
        &self,
        caller: CredentialId,
        credential: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.bucket(credential)?.admit(caller, class, deadline).await
    }

    /// The vendor answered 429: asks half as often from now on, and not at all for `retry_after`
    /// (an hour at most). Several 429s within a second count as one.
    pub fn slow_down(&self, credential: CredentialId, retry_after: Option<Duration>) {
        if let Ok(bucket) = self.bucket(credential) {
            bucket.slow_down(retry_after);
        }
    }

    /// The vendor answered anything but 429: asks a little more often, up to the limit.
    pub fn speed_up(&self, credential: CredentialId) {
        match &self.buckets {
            Buckets::Shared(bucket) => bucket.speed_up(),
            Buckets::Each(kept) => {
                // A bucket that is gone is at full rate.
                let bucket = kept.lock().buckets.get(&credential).cloned();
                if let Some(bucket) = bucket {
                    bucket.speed_up();
                }
            }
        }
    }

    /// How it stands now.
    pub fn snapshot(&self) -> Snapshot {
        let buckets: Vec<_> = match &self.buckets {
            Buckets::Shared(bucket) => vec![Arc::clone(bucket)],
            Buckets::Each(kept) => kept.lock().buckets.values().cloned().collect(),
        };
        let nothing = Snapshot {
            rate: self.settings.rps,
            limit: self.settings.rps,
            used: 0,
            waiting_unary: 0,
            waiting_watches: 0,
            pause: Duration::ZERO,
        };
        buckets.iter().map(|bucket| bucket.snapshot()).fold(nothing, |sum, one| Snapshot {
            rate: sum.rate.min(one.rate),
            limit: sum.limit,
            used: sum.used + one.used,
            waiting_unary: sum.waiting_unary + one.waiting_unary,
            waiting_watches: sum.waiting_watches + one.waiting_watches,
            pause: sum.pause.max(one.pause),
        })
    }

    fn bucket(&self, credential: CredentialId) -> Result<Arc<Bucket>, Error> {
        match &self.buckets {
            Buckets::Shared(bucket) => Ok(Arc::clone(bucket)),
            Buckets::Each(kept) => kept.lock().bucket(credential, &self.settings),
        }
    }
}

impl Kept {
    fn bucket(
        &mut self,
        credential: CredentialId,
        settings: &Settings,
    ) -> Result<Arc<Bucket>, Error> {
        if let Some(bucket) = self.buckets.get(&credential) {
            return Ok(Arc::clone(bucket));
        }
        if self.buckets.len() >= self.sweep_at {
            // Nobody can take a bucket out meanwhile: that needs the lock we hold.
            self.buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_idle());
            self.sweep_at = (self.buckets.len() * 2).clamp(FIRST_SWEEP, MAX_BUCKETS);
        }
        if self.buckets.len() >= MAX_BUCKETS {
            return Err(exhausted(Duration::from_secs(1)));
        }
        let bucket = Arc::new(Bucket::new(settings));
        self.buckets.insert(credential, Arc::clone(&bucket));
        Ok(bucket)
    }
}

fn exhausted(retry_after: Duration) -> Error {
    Error { retry_after: Some(retry_after), ..Error::new(Kind::QuotaExhausted) }
}

/// The vendor has asked for a pause.
fn held(retry_after: Duration) -> Error {
    Error { retry_after: Some(retry_after), ..Error::new(Kind::RateLimited) }
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
        let Buckets::Each(kept) = &quota.buckets else { panic!("one bucket for all") };
        assert!(kept.lock().buckets.len() <= 2 * FIRST_SWEEP);
    }
}
