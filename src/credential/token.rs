//! The service's own access token. One task refreshes it and publishes it; calls read it, and wait
//! for the task if they need another.
//!
//! The token is refreshed early, once per refusal, and one refresh at a time. A token that is still
//! good is used while the token endpoint is down.

mod answer;
mod issuer;
mod kept;
mod state;

use std::{
    convert::Infallible,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use http::HeaderValue;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

pub(crate) use self::state::describe;

use self::{
    answer::{Cause, Outcome},
    issuer::Issuer,
    state::State,
};
use crate::{
    config::credentials::CredentialsConfig,
    wire::{Error, HttpClient},
};

/// How long a call waits for a refresh while it could use the present token.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a call without a token waits for a refresh: longer than any refresh takes.
const LIMIT: Duration = Duration::from_secs(30);

/// How often the task looks for a new secret when the present one is refused.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// An access token of the service. Its header is marked sensitive, so `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Authorization {
    header: HeaderValue,
    generation: u64,
    /// Whether a request with it has succeeded. Shared by its clones.
    has_worked: Arc<AtomicBool>,
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

/// Keeps the service's access token fresh. Clones share it; the task that refreshes ends when the
/// last one is dropped.
#[derive(Clone)]
pub struct TokenSource(Arc<Shared>);

struct Shared {
    state: watch::Sender<State>,
    issuer: Arc<Issuer>,
}

impl TokenSource {
    /// Starts the task, which fetches the first token at once. Must be called within a tokio
    /// runtime. `http` must not follow redirects. `None` if the configuration has problems (see
    /// [`CredentialsConfig::problems`]).
    pub fn new(config: &CredentialsConfig, http: HttpClient) -> Option<Self> {
        let issuer = Arc::new(Issuer::new(config, http)?);
        let (state, changes) = watch::channel(State::new(Instant::now()));
        let shared = Arc::new(Shared { state, issuer: Arc::clone(&issuer) });
        let refresh = move || Arc::clone(&issuer).refresh();
        tokio::spawn(keep_fresh(Arc::downgrade(&shared), changes, refresh));
        Some(Self(shared))
    }

    /// The token to use now. Waits for the task if there is none.
    ///
    /// Fails with [`CredentialUnavailable`](crate::wire::Kind::CredentialUnavailable) if there is
    /// none and none can be had; at once while the next attempt is put off.
    pub async fn authorization(&self) -> Result<Authorization, Error> {
        self.other_than(None).await
    }

    /// The vendor refused this token. Gives a newer one: the one that replaced it meanwhile, or a
    /// fresh one.
    ///
    /// Fails if the refused token is too young to be replaced already: with
    /// [`NoSeat`](crate::wire::Kind::NoSeat) if neither it nor the one before has worked, else with
    /// [`CredentialUnavailable`](crate::wire::Kind::CredentialUnavailable).
    pub async fn refused(&self, refused: &Authorization) -> Result<Authorization, Error> {
        let generation = refused.generation;
        self.0.state.send_if_modified(|state| state.refuse(generation, Instant::now()));
        self.other_than(Some(generation)).await
    }

    /// The vendor refused this token too, with which [`refused`](Self::refused) had replaced another
    /// and which had not worked before: a missing seat.
    pub(crate) fn refused_again(&self, fresh: &Authorization) {
        self.0.state.send_if_modified(|state| {
            state.distrust(fresh.generation);
            false
        });
    }

    /// How it stands now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.state.borrow().snapshot(Instant::now())
    }

    /// Hastens the next refresh if only a new secret helps and there is one.
    pub fn look_for_secret(&self) {
        self.0.look_for_secret();
    }

    /// The token to use now, unless it is the refused one.
    async fn other_than(&self, refused: Option<u64>) -> Result<Authorization, Error> {
        self.0.look_for_secret();
        let (is_due, is_usable, attempts) = {
            let (state, now) = (self.0.state.borrow(), Instant::now());
            (state.due_at <= now, state.usable(refused, now).is_some(), state.attempts())
        };
        if is_due {
            let mut changes = self.0.state.subscribe();
            let is_settled = changes.wait_for(|state| state.attempts() > attempts);
            // In vain or not: what counts is the state after it.
            timeout(if is_usable { PATIENCE } else { LIMIT }, is_settled).await.ok();
        }
        let (state, now) = (self.0.state.borrow(), Instant::now());
        state.usable(refused, now).ok_or_else(|| state.error(now))
    }
}

impl Shared {
    /// Hastens the next refresh if only a new secret helps and there is one.
    fn look_for_secret(&self) {
        let needs_secret = self.state.borrow().needs_secret(Instant::now());
        if needs_secret && self.issuer.has_new_secret() {
            self.state.send_if_modified(|state| state.use_new_secret(Instant::now()));
        }
    }
}

/// Refreshes whenever it is due, until there is no [`TokenSource`] any more. A refresh under way is
/// finished even then, since its answer may hold a new refresh token.
async fn keep_fresh<F: Future<Output = Outcome>>(
    shared: Weak<Shared>,
    mut changes: watch::Receiver<State>,
    refresh: impl Fn() -> F,
) -> Option<Infallible> {
    loop {
        let now = Instant::now();
        let (due_at, needs_secret) = {
            let state = changes.borrow_and_update();
            (state.due_at, state.needs_secret(now))
        };
        if due_at <= now {
            let outcome = AssertUnwindSafe(refresh()).catch_unwind().await;
            // The panic hook has logged it. Callers must not wait for what will not come.
            let outcome = outcome.unwrap_or_else(|_panic| Err(Cause::Panic.into()));
            shared.upgrade()?.state.send_modify(|state| state.settle(outcome, Instant::now()));
            continue;
        }
        let wake_at = if needs_secret { due_at.min(now + LOOK_INTERVAL) } else { due_at };
        tokio::select! {
            change = changes.changed() => change.ok()?,
            () = sleep_until(wake_at) => {}
        }
        shared.upgrade()?.look_for_secret();
    }
}

impl Authorization {
    /// The value of the `authorization` header, marked sensitive.
    pub fn header_value(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Notes that a request with this token succeeded. A later refusal is no sign of a missing seat.
    pub(crate) fn note_success(&self) {
        self.has_worked.store(true, Ordering::Relaxed);
    }

    /// Whether a request with this token has succeeded.
    pub(crate) fn has_worked(&self) -> bool {
        self.has_worked.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use clap::Parser as _;
    use tokio::{task::JoinHandle, time::sleep};

    use super::{answer::Fresh, *};
    use crate::{config::UpstreamConfig, wire::Kind};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        credentials: CredentialsConfig,
    }

    /// A source whose refreshes take a second and panic so many times.
    fn source(panics: usize) -> (TokenSource, JoinHandle<Option<Infallible>>) {
        let flags = ["", "--client-id=i", "--client-secret=s", "--refresh-token=r"];
        let config = Line::parse_from(flags).credentials;
        let url = &config.token_url;
        let http = HttpClient::new(&UpstreamConfig::at(url.clone()), url).unwrap();
        let issuer = Arc::new(Issuer::new(&config, http).unwrap());
        let (state, changes) = watch::channel(State::new(Instant::now()));
        let shared = Arc::new(Shared { state, issuer });
        let count = Arc::new(AtomicUsize::new(0));
        let refresh = move || {
            let count = Arc::clone(&count);
            async move {
                sleep(Duration::from_secs(1)).await;
                assert!(count.fetch_add(1, Ordering::Relaxed) >= panics, "on purpose");
                let header = HeaderValue::from_static("Bearer t");
                Ok(Fresh { header, issued_at: Instant::now(), life: Duration::from_hours(1) })
            }
        };
        let task = tokio::spawn(keep_fresh(Arc::downgrade(&shared), changes, refresh));
        (TokenSource(shared), task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_fails_those_who_wait_and_the_task_goes_on() {
        let (source, _task) = source(1);
        let start = Instant::now();
        let error = source.authorization().await.unwrap_err();
        assert_eq!((error.kind, start.elapsed().as_secs()), (Kind::CredentialUnavailable, 1));
        sleep(error.retry_after.unwrap()).await;
        assert_eq!(source.authorization().await.unwrap().header_value(), "Bearer t");
        assert_eq!((source.snapshot().refreshed, source.snapshot().failed), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_the_last_source() {
        for age in [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(5)] {
            let (source, task) = source(0);
            sleep(age).await;
            drop((source.clone(), source));
            let end = timeout(Duration::from_secs(2), task).await.unwrap();
            assert!(end.unwrap().is_none());
        }
    }
}
