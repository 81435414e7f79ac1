//! The endpoint for the vendor's callbacks. A callback is an unsigned POST when a session changes.
//! It is only a hint to ask the vendor sooner. The service does not believe, store or log anything
//! of it, and the answer reveals nothing to its sender. This module passes each hint to a function
//! of the caller, so it does not depend on polls.

mod body;
mod metric;
mod pace;
#[cfg(test)]
mod property;
mod secrets;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::secrets::{Secrets, SecretsError};
use self::{metric::CallbackResult, pace::Pace, secrets::Known};
use crate::{
    admin::port::{self, Limits},
    model::SessionId,
};

/// The path of the endpoint, without the secret.
const PATH: &str = "/callbacks/session-status/";

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// The longest time until a body has arrived.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// The greatest number of open connections. One more closes the oldest.
pub const MAX_CONNECTIONS: usize = 64;

/// The limits of the endpoint's connections. A connection carries one callback, which takes
/// milliseconds.
const LIMITS: Limits = Limits {
    connections: MAX_CONNECTIONS,
    duration: Duration::from_secs(10),
    drain: Duration::from_secs(1),
};

/// After this many requests with a wrong secret, one warning in the log asks the operator to look.
const MANY_WRONG_SECRETS: u64 = 100;

/// The endpoint for callbacks. All clones share its state.
#[derive(Clone)]
pub struct Callbacks {
    secrets: Arc<Secrets>,
    hint: Arc<dyn Fn(&SessionId) + Send + Sync>,
    pace: Arc<Pace>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    callbacks: u64,
    latest: Option<Instant>,
    /// Since the secrets last changed.
    wrong_secrets: u64,
}

/// How many callbacks came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Callbacks with a right secret since the start.
    pub callbacks: u64,
    /// The time since the latest one. `None` if there was none.
    pub age: Option<Duration>,
}

impl Callbacks {
    /// `hint` is called with the id or token of a session that may have changed. It must not block.
    pub fn new(secrets: Secrets, hint: impl Fn(&SessionId) + Send + Sync + 'static) -> Self {
        metric::describe();
        let (secrets, hint) = (Arc::new(secrets), Arc::new(hint));
        Self { secrets, hint, pace: Arc::new(Pace::new()), counts: Arc::default() }
    }

    /// Serves on `listener` until `stop`. Then closes the listener, and waits for a moment for the
    /// callbacks that are arriving.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::select! {
            () = port::serve(listener, |_| router.clone(), LIMITS, stop.cancelled()) => {}
            () = self.give_hints() => {}
        }
    }

    /// Reads the file of secrets again if it has changed. If it cannot be used, the earlier secrets
    /// stay valid. Reads a file, so it may block.
    pub fn reload(&self) {
        if self.secrets.reload() {
            self.counts.lock().wrong_secrets = 0;
        }
    }

    /// Returns how many callbacks came.
    pub fn received(&self) -> Received {
        let counts = self.counts.lock();
        Received { callbacks: counts.callbacks, age: counts.latest.map(|time| time.elapsed()) }
    }

    /// Gives each hint at its turn. Runs until it is dropped. The requests do not wait for it, so
    /// that the time of an answer does not reveal whether a session is known.
    async fn give_hints(&self) {
        loop {
            let session = self.pace.next().await;
            (self.hint)(&session);
        }
    }

    fn count_callback(&self, known: Known) {
        let mut counts = self.counts.lock();
        counts.callbacks += 1;
        counts.latest = Some(Instant::now());
        match known {
            Known::Newest => {}
            Known::Older => metric::count_older_secret(),
        }
    }

    fn count_wrong_secret(&self) {
        let mut counts = self.counts.lock();
        counts.wrong_secrets += 1;
        if counts.wrong_secrets == MANY_WRONG_SECRETS {
            warn!("many callbacks came with a wrong secret");
        }
    }

    /// Offers a hint for each session that a body names. Returns the best result.
    fn take(&self, body: &[u8]) -> CallbackResult {
        let offers = body::sessions(body).into_iter().map(|session| self.pace.offer(session));
        offers.min().map_or(CallbackResult::Unreadable, CallbackResult::from)
    }
}

/// Answers any request. The answer depends only on the path with its secret and, if the secret is
/// right, on the method.
async fn answer(State(callbacks): State<Callbacks>, request: Request) -> Response {
    let (result, response) = respond(&callbacks, request).await;
    metric::count(result);
    response
}

async fn respond(callbacks: &Callbacks, request: Request) -> (CallbackResult, Response) {
    let secret = request.uri().path().strip_prefix(PATH).filter(|rest| !rest.contains('/'));
    let Some(secret) = secret else {
        return (CallbackResult::WrongPath, StatusCode::NOT_FOUND.into_response());
    };
    let Some(known) = callbacks.secrets.check(secret) else {
        callbacks.count_wrong_secret();
        return (CallbackResult::WrongSecret, StatusCode::NOT_FOUND.into_response());
    };
    if request.method() != Method::POST {
        let refusal = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]);
        return (CallbackResult::WrongMethod, refusal.into_response());
    }
    callbacks.count_callback(known);
    let result = match timeout(BODY_LIMIT, read(request.into_body())).await {
        Ok(Ok(body)) => callbacks.take(&body),
        Ok(Err(result)) => result,
        Err(_) => CallbackResult::Incomplete,
    };
    (result, StatusCode::NO_CONTENT.into_response())
}

/// Reads a body to its end, so that its sender also reads the answer. Keeps nothing of a body that
/// is too large.
async fn read(body: Body) -> Result<Vec<u8>, CallbackResult> {
    let (mut kept, mut is_too_large) = (Vec::new(), false);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| CallbackResult::Incomplete)?;
        is_too_large |= kept.len() + chunk.len() > MAX_BODY;
        if is_too_large {
            kept = Vec::new();
        } else {
            kept.extend_from_slice(&chunk);
        }
    }
    if is_too_large { Err(CallbackResult::TooLarge) } else { Ok(kept) }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("counts", &self.counts).finish_non_exhaustive()
    }
}
