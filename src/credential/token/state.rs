//! The state of the access token, and when the next refresh is due. It reads no clock: each
//! function takes the time as a parameter.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{
    authorization::Authorization,
    response::{AccessToken, Cause, RefreshError},
};
use crate::wire::{Error, Kind};

const REFRESHES_METRIC: &str = "gotoassist_token_refreshes_total";
const VALIDITY_METRIC: &str = "gotoassist_token_validity_seconds";
const FAILING_METRIC: &str = "gotoassist_token_failing";

/// Describes the metrics. Does nothing before a recorder is installed.
pub(crate) fn describe() {
    describe_counter!(REFRESHES_METRIC, "Refreshes of the service's own access token, by result");
    describe_gauge!(
        VALIDITY_METRIC,
        Unit::Seconds,
        "How long the service's own access token is still valid"
    );
    describe_gauge!(
        FAILING_METRIC,
        "1 if the latest refresh of the service's own access token failed, else 0"
    );
}

/// The results of a refresh.
const OK: &str = "ok";
const REFUSED: &str = "refused";
const FAILED: &str = "failed";

/// Creates the series of all results, so that an alert sees the first event too.
pub(super) fn begin_at_zero() {
    for result in [OK, REFUSED, FAILED] {
        counter!(REFRESHES_METRIC, "result" => result).increment(0);
    }
}

/// Brings the gauges up to date.
pub(super) fn set_gauges(token: &Snapshot) {
    gauge!(VALIDITY_METRIC).set(token.expires_in.as_secs_f64());
    gauge!(FAILING_METRIC).set(f64::from(u8::from(token.is_failing)));
}

/// A token is refreshed after a random fraction of its lifetime, between these two values, so that
/// replicas do not all ask at the same time.
const REFRESH_AFTER: (f64, f64) = (0.8, 0.9);

/// The shortest and the longest hold. The hold is the time after a refresh in which a refusal of
/// the new token leads to no other refresh. Without a refusal, the shortest hold is the least time
/// between two refreshes, however short the lifetime is.
const HOLD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));

/// A token is used for at least this long, however short its lifetime is, so that there is a token
/// until the next refresh is allowed.
const MIN_USE: Duration = Duration::from_mins(1);

/// The first and the longest backoff after a transient failure.
const TRANSIENT_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The first and the longest backoff after a failure that only a new secret can end.
const FINAL_BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));

/// The longest `Retry-After`. A longer one is shortened to this.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// The data about the access token for the metrics and the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How long the access token is still valid; zero if there is none.
    pub expires_in: Duration,
    /// Successful refreshes since the start.
    pub refreshed: u64,
    /// Failed refreshes since the start.
    pub failed: u64,
    /// Whether the latest refresh failed.
    pub is_failing: bool,
}

/// The state of the access token.
pub(crate) struct TokenState {
    token: Option<Token>,
    /// When the next refresh is due. During a refresh this is in the past.
    pub(crate) due_at: Instant,
    /// Why the latest refresh failed, if it did, and how many failures of the same kind came before
    /// it.
    failing: Option<(Cause, u32)>,
    /// The final failure that was logged last. It is not logged again at each attempt.
    logged: Option<Cause>,
    refreshed: u64,
    failed: u64,
}

struct Token {
    authorization: Authorization,
    issued_at: Instant,
    lifetime: Duration,
    /// How long after `issued_at` a refusal cannot lead to a refresh.
    hold: Duration,
    is_refused: bool,
    /// Whether the tokens before this one worked. If so, a first refusal does not mean that the
    /// user has no seat.
    is_trusted: bool,
}

impl Token {
    fn used_until(&self) -> Instant {
        self.issued_at + self.lifetime.max(MIN_USE)
    }

    /// Whether the vendor refuses the token because its user has no seat.
    fn has_no_seat(&self, now: Instant) -> bool {
        let has_expired = now >= self.issued_at + self.lifetime;
        let has_worked = self.is_trusted || self.authorization.has_worked();
        self.is_refused && !has_expired && !has_worked
    }
}

impl TokenState {
    /// There is no token yet, and a refresh is due.
    pub(crate) fn new(now: Instant) -> Self {
        Self { token: None, due_at: now, failing: None, logged: None, refreshed: 0, failed: 0 }
    }

    /// How many refreshes have ended.
    pub(crate) fn attempts(&self) -> u64 {
        self.refreshed + self.failed
    }

    /// The current token, if it can still be used and is not the refused one.
    pub(crate) fn usable(&self, refused: Option<u64>, now: Instant) -> Option<Authorization> {
        let token = self.token.as_ref().filter(|token| now < token.used_until())?;
        let is_other = refused.is_none_or(|refused| token.authorization.generation != refused);
        is_other.then(|| token.authorization.clone())
    }

    /// Why there is no usable token.
    pub(crate) fn error(&self, now: Instant) -> Error {
        let mut error = Error::new(Kind::CredentialUnavailable);
        error.retry_after = Some(self.due_at.duration_since(now));
        match self.failing {
            Some((cause, _)) => error.caused_by(cause),
            None if self.token.as_ref().is_some_and(|token| token.has_no_seat(now)) => {
                Error::new(Kind::NoSeat)
            }
            None => error,
        }
    }

    /// Whether only a new secret would help now.
    pub(crate) fn needs_secret(&self, now: Instant) -> bool {
        match self.failing {
            Some((cause, _)) => cause.is_final(),
            None => now < self.due_at && self.token.as_ref().is_some_and(|token| token.is_refused),
        }
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let used_until = self.token.as_ref().map_or(now, Token::used_until);
        Snapshot {
            expires_in: used_until.duration_since(now),
            refreshed: self.refreshed,
            failed: self.failed,
            is_failing: self.failing.is_some(),
        }
    }

    /// The current token, if it is of this generation.
    fn token_of(&mut self, generation: u64) -> Option<&mut Token> {
        self.token.as_mut().filter(|token| token.authorization.generation == generation)
    }

    /// Notes that the vendor refused the token of this generation. Returns whether that is new.
    ///
    /// Other calls still use the token until there is a newer one, because the refusal may be a
    /// mistake.
    pub(crate) fn note_refusal(&mut self, generation: u64, now: Instant) -> bool {
        let token = self.token_of(generation).filter(|token| !token.is_refused);
        let Some(token) = token else { return false };
        token.is_refused = true;
        let allowed_at = token.issued_at + token.hold;
        if self.failing.is_none() {
            self.due_at = self.due_at.min(now.max(allowed_at));
        }
        true
    }

    /// Notes that the vendor refused the token of this generation right after its refresh.
    pub(crate) fn note_second_refusal(&mut self, generation: u64) {
        if let Some(token) = self.token_of(generation) {
            token.is_trusted = false;
        }
    }

    /// Notes that there is a new secret. Failures of the earlier secret no longer delay the next
    /// refresh. Returns whether this makes the refresh earlier.
    pub(crate) fn note_new_secret(&mut self, now: Instant) -> bool {
        let allowed_at = match (self.failing.take(), &mut self.token) {
            (None, Some(token)) => {
                // The shortest hold remains. Otherwise two replicas with one file would refresh
                // without end if each new token revokes the token of the other replica.
                token.hold = token.hold.min(HOLD.0);
                now.max(token.issued_at + token.hold)
            }
            (Some(_), _) | (None, None) => now,
        };
        self.logged = None;
        let is_earlier = allowed_at < self.due_at;
        self.due_at = self.due_at.min(allowed_at);
        is_earlier
    }

    /// Takes in the result of a refresh.
    pub(crate) fn end_refresh(&mut self, result: Result<AccessToken, RefreshError>, now: Instant) {
        match result {
            Ok(token) => self.succeed(token),
            Err(error) => self.fail(error, now),
        }
    }

    fn succeed(&mut self, AccessToken { header, issued_at, lifetime }: AccessToken) {
        let (is_trusted, hold) = match &self.token {
            // The first token may be refused for a transient reason, so it is replaced at once.
            None => (false, Duration::ZERO),
            Some(old) if old.authorization.has_worked() => (true, HOLD.0),
            Some(old) if old.is_refused => (false, (2 * old.hold).clamp(HOLD.0, HOLD.1)),
            Some(old) => (old.is_trusted, HOLD.0),
        };
        let (earliest, latest) = REFRESH_AFTER;
        let refresh_after = lifetime.mul_f64(earliest + (latest - earliest) * fastrand::f64());
        self.due_at = issued_at + refresh_after.max(HOLD.0);
        self.refreshed += 1;
        let authorization = Authorization::new(header, self.refreshed);
        let is_refused = false;
        self.token =
            Some(Token { authorization, issued_at, lifetime, hold, is_refused, is_trusted });
        (self.failing, self.logged) = (None, None);
        counter!(REFRESHES_METRIC, "result" => OK).increment(1);
        info!(life_seconds = lifetime.as_secs(), "the service's access token is refreshed");
    }

    fn fail(&mut self, RefreshError { cause, retry_after }: RefreshError, now: Instant) {
        let ((first, longest), result) =
            if cause.is_final() { (FINAL_BACKOFF, REFUSED) } else { (TRANSIENT_BACKOFF, FAILED) };
        let before = self.failing.filter(|(before, _)| before.is_final() == cause.is_final());
        let times = before.map_or(0, |(_, times)| times + 1);
        self.failing = Some((cause, times));
        let backoff = first.saturating_mul(1 << times.min(16)).min(longest);
        let backoff = backoff.mul_f64(0.8 + 0.4 * fastrand::f64());
        let retry_in = backoff.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
        self.due_at = now + retry_in;
        self.failed += 1;
        counter!(REFRESHES_METRIC, "result" => result).increment(1);
        let valid_seconds = self.snapshot(now).expires_in.as_secs();
        let retry_seconds = retry_in.as_secs();
        if !cause.is_final() {
            warn!(
                failure = %cause, valid_seconds, retry_seconds,
                "the service's access token could not be refreshed; the present one serves until \
                 it expires"
            );
        } else if self.logged.replace(cause) != Some(cause) {
            error!(
                failure = %cause, valid_seconds, retry_seconds,
                "the service's credential is refused by the token endpoint or cannot be read: put \
                 a new refresh token, personal access token or client secret in place"
            );
        }
    }
}
