//! What is known of the access token, and what to do next. Is told the time.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::Shared};
use metrics::counter;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{
    Authorization, Error, Kind, Snapshot,
    answer::{Failure, Fresh},
    issuer::Issuer,
};
use crate::rest::metric;

/// The part of its life after which a token is refreshed: drawn between these, so that replicas do
/// not ask all at once.
const EARLY: (f64, f64) = (0.8, 0.9);

/// The first and the longest pause after a failure that may pass.
const TRANSIENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The same after one that will not, unless somebody changes a secret.
const FINAL: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));

/// The first and the longest pause between two refreshes because of a refusal.
const REFUSAL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));

/// A refresh in flight; whoever waits for it drives it.
pub(super) type Refresh = Shared<Pin<Box<dyn Future<Output = Result<Fresh, Failure>> + Send>>>;

/// What to do.
pub(super) enum Plan {
    Use(Authorization),
    /// Wait for the refresh; `usable` is the present token, if it is still good.
    Refresh {
        number: u64,
        refresh: Refresh,
        usable: Option<Authorization>,
    },
    Fail(Error),
}

/// What is known of the access token.
#[derive(Default)]
pub(super) struct State {
    token: Option<Token>,
    in_flight: Option<(u64, Refresh)>,
    started: u64,
    refreshed: u64,
    failed: u64,
    failing: Option<Failing>,
    refusal: Option<Refusal>,
}

/// The latest refusal that led to a refresh.
#[derive(Clone, Copy)]
struct Refusal {
    generation: u64,
    at: Instant,
    /// How many went before in a row.
    times: u32,
}

struct Token {
    authorization: Authorization,
    issued_at: Instant,
    refresh_at: Instant,
    expires_at: Instant,
}

/// The latest refreshes failed.
struct Failing {
    failure: Failure,
    times: u32,
    retry_at: Instant,
}

impl State {
    pub(super) fn plan(
        &mut self,
        refused: Option<u64>,
        issuer: &Arc<Issuer>,
        now: Instant,
    ) -> Plan {
        if let Some(Err(error)) = refused.map(|generation| self.refuse(generation, now)) {
            return Plan::Fail(error);
        }
        let usable = self.usable(refused, now);
        let is_due = self.token.as_ref().is_none_or(|token| now >= token.refresh_at);
        let is_put_off = self.failing.as_ref().is_some_and(|failing| now < failing.retry_at);
        match (usable, self.in_flight.clone()) {
            (Some(usable), _) if !is_due => Plan::Use(usable),
            (usable, Some((number, refresh))) => Plan::Refresh { number, refresh, usable },
            (Some(usable), None) if is_put_off => Plan::Use(usable),
            (None, None) if is_put_off => Plan::Fail(self.error(now)),
            (usable, None) => {
                let issuer = Arc::clone(issuer);
                let refresh = async move { issuer.refresh().await }.boxed().shared();
                self.started += 1;
                self.in_flight = Some((self.started, refresh.clone()));
                Plan::Refresh { number: self.started, refresh, usable }
            }
        }
    }

    /// Takes in what a refresh gave; the first of those who waited for it does.
    pub(super) fn settle(&mut self, number: u64, outcome: Result<Fresh, Failure>, now: Instant) {
        if self.in_flight.as_ref().is_none_or(|(in_flight, _)| *in_flight != number) {
            return;
        }
        self.in_flight = None;
        match outcome {
            Ok(fresh) => self.succeed(fresh, number),
            Err(failure) => self.fail(failure, now),
        }
    }

    /// The vendor refused the token of this generation. An error if no other should be fetched.
    fn refuse(&mut self, generation: u64, now: Instant) -> Result<(), Error> {
        let present = |token: &&mut Token| token.authorization.generation == generation;
        let Some(token) = self.token.as_mut().filter(present) else { return Ok(()) };
        if let Some(refusal) = self.refusal {
            if refusal.generation == generation {
                return Ok(());
            }
            // It came because the one before was refused, and is refused as well.
            if now < refusal.at + pause(REFUSAL, refusal.times) {
                return Err(Error::new(Kind::NoSeat));
            }
        }
        let has_served = now.duration_since(token.issued_at) > 2 * REFUSAL.1;
        let times = self.refusal.filter(|_| !has_served).map_or(0, |refusal| refusal.times + 1);
        self.refusal = Some(Refusal { generation, at: now, times });
        // Still used while no other can be had: the refusal may have been a mistake.
        token.refresh_at = now;
        Ok(())
    }

    /// The present token, if it has not expired and is not the refused one.
    pub(super) fn usable(&self, refused: Option<u64>, now: Instant) -> Option<Authorization> {
        let token = self.token.as_ref().filter(|token| now < token.expires_at)?;
        let is_other = refused.is_none_or(|refused| token.authorization.generation != refused);
        is_other.then(|| token.authorization.clone())
    }

    /// Why there is no token.
    pub(super) fn error(&self, now: Instant) -> Error {
        let mut error = Error::new(Kind::CredentialUnavailable);
        if let Some(failing) = &self.failing {
            error = error.caused_by(failing.failure);
            error.retry_after = Some(failing.retry_at.duration_since(now));
        }
        error
    }

    /// When the next refresh is due.
    pub(super) fn due_at(&self, now: Instant) -> Instant {
        let wanted = self.token.as_ref().map_or(now, |token| token.refresh_at);
        self.failing.as_ref().map_or(wanted, |failing| wanted.max(failing.retry_at))
    }

    /// Whether only a new secret helps.
    pub(super) fn needs_secret(&self) -> bool {
        self.in_flight.is_none()
            && self.failing.as_ref().is_some_and(|failing| failing.failure.is_final())
    }

    /// There is a new secret: what failed before says nothing about it.
    pub(super) fn try_at_once(&mut self) {
        self.failing = None;
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let expires_at = self.token.as_ref().map_or(now, |token| token.expires_at);
        Snapshot {
            expires_in: expires_at.duration_since(now),
            refreshed: self.refreshed,
            failed: self.failed,
            is_failing: self.failing.is_some(),
        }
    }

    fn succeed(&mut self, fresh: Fresh, generation: u64) {
        let Fresh { header, issued_at, life } = fresh;
        let early = EARLY.0 + (EARLY.1 - EARLY.0) * fastrand::f64();
        self.token = Some(Token {
            authorization: Authorization { header, generation },
            issued_at,
            refresh_at: issued_at + life.mul_f64(early),
            expires_at: issued_at + life,
        });
        self.refreshed += 1;
        counter!(metric::TOKEN_REFRESHES, "result" => "ok").increment(1);
        self.failing = None;
        info!(life_seconds = life.as_secs(), "the service's access token is refreshed");
    }

    fn fail(&mut self, failure: Failure, now: Instant) {
        let same = self
            .failing
            .as_ref()
            .filter(|failing| failing.failure.is_final() == failure.is_final());
        let times = same.map_or(0, |failing| failing.times + 1);
        let range = if failure.is_final() { FINAL } else { TRANSIENT };
        let retry_in = pause(range, times).mul_f64(0.8 + 0.4 * fastrand::f64());
        self.failing = Some(Failing { failure, times, retry_at: now + retry_in });
        self.failed += 1;
        let result = if failure.is_final() { "refused" } else { "failed" };
        counter!(metric::TOKEN_REFRESHES, "result" => result).increment(1);
        let valid_seconds = self.snapshot(now).expires_in.as_secs();
        let retry_seconds = retry_in.as_secs();
        if failure.is_final() {
            error!(
                %failure, valid_seconds, retry_seconds,
                "the service's credential is refused by the token endpoint or cannot be read: put \
                 a new refresh token, personal access token or client secret in place"
            );
        } else {
            warn!(
                %failure, valid_seconds, retry_seconds,
                "the service's access token could not be refreshed; the present one serves until \
                 it expires"
            );
        }
    }
}

/// Doubles with each time, within the range.
fn pause(range: (Duration, Duration), times: u32) -> Duration {
    range.0.saturating_mul(1 << times.min(16)).min(range.1)
}
