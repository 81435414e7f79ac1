//! Decides which failures of a unary call are retried, after which backoff, and how many in total.

mod budget;

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::breaker::Subject;
use crate::wire::{Error, Kind};
use budget::Budget;

/// The longest time that a caller without a deadline waits for a retry.
const PATIENCE: Duration = Duration::from_secs(30);

/// The retries of a process.
pub(super) struct Retries {
    budget: Budget,
    delays: ExponentialBuilder,
}

impl Retries {
    /// Allows at most `limit` retries for a call. The budget limits the retries of all calls
    /// together.
    pub fn new(limit: u32) -> Self {
        Self {
            budget: Budget::default(),
            delays: ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(100))
                .with_max_delay(Duration::from_secs(2))
                .with_factor(2.0)
                .with_jitter()
                .with_max_times(usize::try_from(limit).unwrap_or(usize::MAX)),
        }
    }

    /// Returns the backoffs of one call. Adds the call to the budget.
    pub fn of_call(&self) -> ExponentialBackoff {
        self.budget.deposit();
        self.delays.build()
    }

    /// Returns the backoff after `error`, if another attempt is allowed and fits before `deadline`.
    pub fn pause(
        &self,
        subject: Subject,
        error: &Error,
        delays: &mut ExponentialBackoff,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let pause = delays.next()?.max(shortest_wait(error)?);
        let now = Instant::now();
        let fits = now + pause < deadline.unwrap_or(now + PATIENCE);
        (fits && self.budget.withdraw(subject)).then_some(pause)
    }
}

/// Returns the shortest wait after `error`, or `None` if it must not be retried.
fn shortest_wait(error: &Error) -> Option<Duration> {
    match error.kind {
        Kind::ConnectFailed | Kind::Unavailable => Some(error.retry_after.unwrap_or_default()),
        Kind::RateLimited => error.retry_after,
        _ => None,
    }
}
