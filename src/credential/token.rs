//! The service's own access token. One task refreshes the token and publishes it on a `watch`
//! channel. Calls read the token from this channel, and wait for the task if they need a newer one.
//!
//! The task refreshes the token before it expires, and once after a refusal. There is only one
//! refresh at a time. While the token endpoint is down, calls use the token that is still valid.

mod authorization;
mod endpoint;
mod exchange;
mod response;
mod secret_store;
pub mod share;
mod shared_tokens;
mod state;

use std::{
    convert::Infallible,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

pub(crate) use self::exchange::Exchange;
pub(crate) use self::state::describe;
pub use self::{authorization::Authorization, response::Cause, state::Snapshot};

use self::{
    endpoint::TokenEndpoint,
    response::{AccessToken, RefreshError},
    share::Place,
    state::TokenState,
};
use crate::{
    config::credentials::CredentialsConfig,
    wire::{Error, HttpClient},
};

/// How long a call waits for a refresh if it could use the current token.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// How long a call without a token waits for a refresh. Longer than any refresh takes.
const LONG_WAIT: Duration = Duration::from_secs(30);

/// How often the task looks for a new secret while the current one is refused.
const SECRET_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the service's access token fresh. Clones share it. The task ends when the last one is
/// dropped.
#[derive(Clone)]
pub struct TokenSource(Arc<Shared>);

struct Shared {
    state: watch::Sender<TokenState>,
    endpoint: Arc<TokenEndpoint>,
}

impl TokenSource {
    /// Starts the task, which fetches the first token at once. Must be called within a tokio runtime.
    /// `http` must not follow redirects. `None` if the configuration has problems (see
    /// [`CredentialsConfig::problems`]).
    ///
    /// Replicas with the same `place` share their tokens.
    pub fn new(
        config: &CredentialsConfig,
        http: HttpClient,
        place: Option<Arc<dyn Place>>,
    ) -> Option<Self> {
        let endpoint = Arc::new(TokenEndpoint::new(config, http, place)?);
        state::begin_at_zero();
        let (state, changes) = watch::channel(TokenState::new(Instant::now()));
        let shared = Arc::new(Shared { state, endpoint: Arc::clone(&endpoint) });
        let refresh = move || Arc::clone(&endpoint).refresh();
        tokio::spawn(keep_fresh(Arc::downgrade(&shared), changes, refresh));
        Some(Self(shared))
    }

    /// The token to use now. Waits for the task if there is none.
    ///
    /// If there is no token and the task cannot fetch one, the error is
    /// [`CredentialUnavailable`](crate::wire::Kind::CredentialUnavailable). While the task backs
    /// off, this fails at once.
    pub async fn authorization(&self) -> Result<Authorization, Error> {
        self.other_than(None).await
    }

    /// Reports that the vendor refused this token. Returns a newer token, which may have replaced
    /// the refused one already, or is fetched now.
    ///
    /// Fails if the refused token is too young to be replaced. If neither this token nor the one
    /// before it has worked, the error is [`NoSeat`](crate::wire::Kind::NoSeat). Otherwise it is
    /// [`CredentialUnavailable`](crate::wire::Kind::CredentialUnavailable).
    pub async fn refused(&self, refused: &Authorization) -> Result<Authorization, Error> {
        let generation = refused.generation;
        self.0.state.send_if_modified(|state| state.note_refusal(generation, Instant::now()));
        self.other_than(Some(generation)).await
    }

    /// Reports that the vendor refused `fresh` too. [`refused`](Self::refused) had returned this
    /// token, and it has never worked. So the user has no seat.
    pub(crate) fn refused_again(&self, fresh: &Authorization) {
        self.0.state.send_modify(|state| state.note_second_refusal(fresh.generation));
    }

    /// What the metrics and the status page show.
    pub fn snapshot(&self) -> Snapshot {
        self.0.state.borrow().snapshot(Instant::now())
    }

    /// Brings the gauges of the token up to date.
    pub(crate) fn set_gauges(&self) {
        state::set_gauges(&self.snapshot());
    }

    /// If only a new secret helps, and a file has a new one, makes the next refresh earlier.
    pub fn check_for_new_secret(&self) {
        self.0.check_for_new_secret();
    }

    /// The token to use now, unless it is the refused one.
    async fn other_than(&self, refused: Option<u64>) -> Result<Authorization, Error> {
        self.0.check_for_new_secret();
        let (is_due, is_usable, attempts) = {
            let (state, now) = (self.0.state.borrow(), Instant::now());
            (state.due_at <= now, state.usable(refused, now).is_some(), state.attempts())
        };
        if is_due {
            let mut changes = self.0.state.subscribe();
            let refresh = changes.wait_for(|state| state.attempts() > attempts);
            // The result does not matter here, because the state is read again below.
            timeout(if is_usable { SHORT_WAIT } else { LONG_WAIT }, refresh).await.ok();
        }
        let (state, now) = (self.0.state.borrow(), Instant::now());
        state.usable(refused, now).ok_or_else(|| state.error(now))
    }
}

impl Shared {
    fn check_for_new_secret(&self) {
        let needs_secret = self.state.borrow().needs_secret(Instant::now());
        if needs_secret && self.endpoint.has_new_secret() {
            self.state.send_if_modified(|state| state.note_new_secret(Instant::now()));
        }
    }
}

/// Refreshes the token whenever a refresh is due, until the last [`TokenSource`] is dropped. A
/// refresh that has begun is finished even then, because its response may have a new refresh token.
async fn keep_fresh<F: Future<Output = Result<AccessToken, RefreshError>>>(
    shared: Weak<Shared>,
    mut changes: watch::Receiver<TokenState>,
    refresh: impl Fn() -> F,
) -> Option<Infallible> {
    loop {
        let now = Instant::now();
        let (due_at, needs_secret) = {
            let state = changes.borrow_and_update();
            (state.due_at, state.needs_secret(now))
        };
        if due_at <= now {
            let result = AssertUnwindSafe(refresh()).catch_unwind().await;
            // The panic hook has logged the panic. Waiting calls must fail now.
            let result = result.unwrap_or_else(|_panic| Err(Cause::Panic.into()));
            shared.upgrade()?.state.send_modify(|state| state.end_refresh(result, Instant::now()));
            continue;
        }
        let wake_at = if needs_secret { due_at.min(now + SECRET_INTERVAL) } else { due_at };
        tokio::select! {
            change = changes.changed() => change.ok()?,
            () = sleep_until(wake_at) => {}
        }
        shared.upgrade()?.check_for_new_secret();
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use clap::Parser as _;
    use http::HeaderValue;
    use tokio::{task::JoinHandle, time::sleep};

    use super::*;
    use crate::{config::UpstreamConfig, wire::Kind};

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        credentials: CredentialsConfig,
    }

    /// A source whose refreshes take a second. The first ones panic.
    fn source(panics: usize) -> (TokenSource, JoinHandle<Option<Infallible>>) {
        let flags = ["", "--client-id=i", "--client-secret=s", "--refresh-token=r"];
        let config = Flags::parse_from(flags).credentials;
        let url = &config.token_url;
        let http = HttpClient::new(&UpstreamConfig::at(url.clone()), url).unwrap();
        let endpoint = Arc::new(TokenEndpoint::new(&config, http, None).unwrap());
        let (state, changes) = watch::channel(TokenState::new(Instant::now()));
        let shared = Arc::new(Shared { state, endpoint });
        let count = Arc::new(AtomicUsize::new(0));
        let refresh = move || {
            let count = Arc::clone(&count);
            async move {
                sleep(Duration::from_secs(1)).await;
                assert!(count.fetch_add(1, Ordering::Relaxed) >= panics, "on purpose");
                let header = HeaderValue::from_static("Bearer t");
                let lifetime = Duration::from_hours(1);
                Ok(AccessToken { header, issued_at: Instant::now(), lifetime })
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
