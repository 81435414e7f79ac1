//! What is known of the access token, and when the next refresh is due. It is told the time.

use std::{sync::Arc, time::Duration};

use metrics::{counter, describe_counter};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{
    Authorization, Snapshot,
    answer::{Cause, Failure, Fresh, Outcome},
};
use crate::wire::{Error, Kind};

const REFRESHES_METRIC: &str = "gotoassist_token_refreshes_total";

/// Gives the metric its help text. Does nothing before a recorder is installed.
pub(crate) fn describe() {
    describe_counter!(REFRESHES_METRIC, "Refreshes of the service's own access token, by result");
}

/// The part of its life after which a token is refreshed: drawn between these, so that replicas do
/// not ask all at once.
const EARLY: (f64, f64) = (0.8, 0.9);

/// The least and the longest time for which a fresh token is kept if the vendor refuses it. The
/// least holds for early refreshes too, however short the life that the endpoint promises.
const HOLD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));

/// The least time for which a token is used, however short its life, so that there is one until
/// the next may be fetched.
const SHORTEST_USE: Duration = Duration::from_mins(1);

/// The first and the longest pause after a failure that may pass.
const TRANSIENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The same after one that will not, unless somebody changes a secret.
const FINAL: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));

/// The longest `Retry-After` that is kept.
const RETRY_AFTER_LIMIT: Duration = Duration::from_mins(5);

/// What is known of the access token.
pub(crate) struct State {
    token: Option<Token>,
    /// When the next refresh is due: in the past while one is under way.
    pub(crate) due_at: Instant,
    /// If the latest refresh failed: why, and how many failures of the same kind came before it.
    failing: Option<(Cause, u32)>,
    /// The final failure that was logged last, so that it is logged once and not at every attempt.
    reported: Option<Cause>,
    refreshed: u64,
    failed: u64,
}

struct Token {
    authorization: Authorization,
    issued_at: Instant,
    life: Duration,
    /// For how long after its issue a refusal leads to no refresh.
    hold: Duration,
    is_refused: bool,
    /// Whether the tokens before it worked: then a refusal is no sign of a missing seat yet.
    is_trusted: bool,
}

impl State {
    /// There is no token yet, so a refresh is due.
    pub(crate) fn new(now: Instant) -> Self {
        Self { token: None, due_at: now, failing: None, reported: None, refreshed: 0, failed: 0 }
    }

    /// How many refreshes have ended.
    pub(crate) fn attempts(&self) -> u64 {
        self.refreshed + self.failed
    }

    /// The present token, if it is still in use and not the refused one.
    pub(crate) fn usable(&self, refused: Option<u64>, now: Instant) -> Option<Authorization> {
        let token = self.token.as_ref().filter(|token| now < token.used_until())?;
        let is_other = refused.is_none_or(|refused| token.authorization.generation != refused);
        is_other.then(|| token.authorization.clone())
    }

    /// Why there is no token.
    pub(crate) fn error(&self, now: Instant) -> Error {
        let is_without_seat = |token: &Token| {
            let is_alive = now < token.issued_at + token.life;
            token.is_refused && is_alive && !token.authorization.has_worked() && !token.is_trusted
        };
        if self.failing.is_none() && self.token.as_ref().is_some_and(is_without_seat) {
            return Error::new(Kind::NoSeat);
        }
        let mut error = Error::new(Kind::CredentialUnavailable);
        error.retry_after = Some(self.due_at.duration_since(now));
        match self.failing {
            Some((cause, _)) => error.caused_by(cause),
            None => error,
        }
    }

    /// Whether a new secret would help, and time alone would not.
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

    /// Notes that the vendor refused the token of this generation. Returns whether that is new.
    pub(crate) fn refuse(&mut self, generation: u64, now: Instant) -> bool {
        let is_news =
            |token: &&mut Token| token.authorization.generation == generation && !token.is_refused;
        let Some(token) = self.token.as_mut().filter(is_news) else { return false };
        // Still used by others while no newer one can be had: the refusal may be a mistake.
        token.is_refused = true;
        if self.failing.is_none() {
            self.due_at = self.due_at.min(now.max(token.issued_at + token.hold));
        }
        true
    }

    /// Notes that the vendor refused the token of this generation at once after its refresh.
    pub(crate) fn distrust(&mut self, generation: u64) {
        if let Some(token) = &mut self.token
            && token.authorization.generation == generation
        {
            token.is_trusted = false;
        }
    }

    /// Notes that there is a new secret, about which earlier failures say nothing. Returns whether
    /// the next refresh is due earlier now.
    pub(crate) fn use_new_secret(&mut self, now: Instant) -> bool {
        let allowed_at = match (self.failing.take(), &mut self.token) {
            (None, Some(token)) => {
                // The least hold stays: else two replicas that share the file, and whose tokens
                // revoke each other, would refresh without end.
                token.hold = token.hold.min(HOLD.0);
                now.max(token.issued_at + token.hold)
            }
            (Some(_), _) | (None, None) => now,
        };
        self.reported = None;
        let is_earlier = allowed_at < self.due_at;
        self.due_at = self.due_at.min(allowed_at);
        is_earlier
    }

    /// Takes in the outcome of a refresh.
    pub(crate) fn settle(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Ok(fresh) => self.succeed(fresh),
            Err(failure) => self.fail(failure, now),
        }
    }

    fn succeed(&mut self, Fresh { header, issued_at, life }: Fresh) {
        let is_trusted = self.token.as_ref().is_some_and(|old| {
            old.authorization.has_worked() || (old.is_trusted && !old.is_refused)
        });
        let hold = match &self.token {
            // The first token may be refused for a passing reason, so it is replaced at once.
            None => Duration::ZERO,
            Some(old) if old.is_refused && !old.authorization.has_worked() => {
                (2 * old.hold).clamp(HOLD.0, HOLD.1)
            }
            Some(_) => HOLD.0,
        };
        let early = life.mul_f64(EARLY.0 + (EARLY.1 - EARLY.0) * fastrand::f64());
        self.due_at = issued_at + early.max(HOLD.0);
        self.refreshed += 1;
        let (generation, has_worked) = (self.refreshed, Arc::default());
        let authorization = Authorization { header, generation, has_worked };
        let is_refused = false;
        self.token = Some(Token { authorization, issued_at, life, hold, is_refused, is_trusted });
        self.failing = None;
        self.reported = None;
        counter!(REFRESHES_METRIC, "result" => "ok").increment(1);
        info!(life_seconds = life.as_secs(), "the service's access token is refreshed");
    }

    fn fail(&mut self, Failure { cause, retry_after }: Failure, now: Instant) {
        let (range, result) =
            if cause.is_final() { (FINAL, "refused") } else { (TRANSIENT, "failed") };
        let before = self.failing.filter(|(before, _)| before.is_final() == cause.is_final());
        let times = before.map_or(0, |(_, times)| times + 1);
        self.failing = Some((cause, times));
        let backoff = range.0.saturating_mul(1 << times.min(16)).min(range.1);
        let backoff = backoff.mul_f64(0.8 + 0.4 * fastrand::f64());
        let retry_in = backoff.max(retry_after.unwrap_or_default().min(RETRY_AFTER_LIMIT));
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
        } else if self.reported.replace(cause) != Some(cause) {
            error!(
                failure = %cause, valid_seconds, retry_seconds,
                "the service's credential is refused by the token endpoint or cannot be read: put \
                 a new refresh token, personal access token or client secret in place"
            );
        }
    }
}

impl Token {
    fn used_until(&self) -> Instant {
        self.issued_at + self.life.max(SHORTEST_USE)
    }
}
