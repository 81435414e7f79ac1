//! The service's own access token, kept fresh: early, one refresh at a time, once per refusal, and
//! used until it truly expires if the token endpoint is down.
//!
//! No task of its own: a refresh is driven by those who wait for it, and lives on when they leave,
//! for the next to finish; an answer with a new refresh token is never lost with a cancelled call.
//! [`TokenSource::keep_fresh`] is for whoever wants no call to wait at all.

mod answer;
mod issuer;
mod kept;
mod state;

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use tokio::time::{Instant, sleep_until, timeout};

use self::{
    issuer::Issuer,
    state::{Plan, State},
};
use super::{Error, HttpClient, Kind};
use crate::config::credentials::CredentialsConfig;

/// How long a call waits for a fresh token while it could use the old one.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often [`TokenSource::keep_fresh`] looks for a new secret when the old one is refused.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// An access token of the service.
#[derive(Clone)]
pub struct Authorization {
    header: HeaderValue,
    generation: u64,
}

/// What a status page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How long the access token is still valid; zero if there is none.
    pub expires_in: Duration,
    /// Refreshes that gave a token, since the start.
    pub refreshed: u64,
    /// Refreshes that failed, since the start.
    pub failed: u64,
    /// Whether the latest refresh failed.
    pub is_failing: bool,
}

/// Keeps the service's access token fresh. Clones share it.
#[derive(Clone)]
pub struct TokenSource {
    issuer: Arc<Issuer>,
    state: Arc<Mutex<State>>,
}

impl TokenSource {
    /// A source without a token yet; the first call fetches one. `http` must not follow redirects.
    /// `None` if the configuration has problems (see [`CredentialsConfig::problems`]).
    pub fn new(config: &CredentialsConfig, http: HttpClient) -> Option<Self> {
        let issuer = Arc::new(Issuer::new(config, http)?);
        Some(Self { issuer, state: Arc::default() })
    }

    /// The token to use now. Fetched if there is none or it is about to expire.
    ///
    /// Fails with [`Kind::CredentialUnavailable`] if there is none and none can be had; at once
    /// while the next attempt is put off.
    pub async fn authorization(&self) -> Result<Authorization, Error> {
        self.other_than(None).await
    }

    /// The vendor refused this token. Gives a newer one: the one that replaced it meanwhile, or a
    /// fresh one.
    ///
    /// Fails with [`Kind::NoSeat`] if tokens are refused as fast as they come, which no further
    /// token would cure: the pause until the next attempt doubles each time.
    pub async fn refused(&self, refused: &Authorization) -> Result<Authorization, Error> {
        self.other_than(Some(refused.generation)).await
    }

    /// Refreshes ahead of time for ever, so that no call waits. For a task of the server's.
    pub async fn keep_fresh(&self) -> Infallible {
        loop {
            let now = Instant::now();
            let due = lock(&self.state).due_at(now).min(now + LOOK_INTERVAL);
            sleep_until(due).await;
            if lock(&self.state).due_at(Instant::now()) <= Instant::now() || self.is_curable() {
                // Told in the log, and put off, where it happens.
                self.authorization().await.ok();
            }
        }
    }

    /// How it stands now.
    pub fn snapshot(&self) -> Snapshot {
        lock(&self.state).snapshot(Instant::now())
    }

    /// The token to use now, unless it is the refused one.
    async fn other_than(&self, refused: Option<u64>) -> Result<Authorization, Error> {
        if self.is_curable() {
            lock(&self.state).try_at_once();
        }
        let plan = lock(&self.state).plan(refused, &self.issuer, Instant::now());
        let (number, refresh, usable) = match plan {
            Plan::Use(authorization) => return Ok(authorization),
            Plan::Fail(error) => return Err(error),
            Plan::Refresh { number, refresh, usable } => (number, refresh, usable),
        };
        let outcome = match &usable {
            None => refresh.await,
            Some(usable) => match timeout(PATIENCE, refresh).await {
                Ok(outcome) => outcome,
                Err(_still_going) => return Ok(usable.clone()),
            },
        };
        let mut state = lock(&self.state);
        state.settle(number, outcome, Instant::now());
        let now = Instant::now();
        state.usable(refused, now).ok_or_else(|| state.error(now))
    }

    /// Whether it waits for a new secret, and there is one.
    fn is_curable(&self) -> bool {
        lock(&self.state).needs_secret() && self.issuer.has_new_secret()
    }
}

impl Authorization {
    /// The value of the `authorization` header, marked sensitive.
    pub fn header_value(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization")
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
