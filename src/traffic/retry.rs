//! Which failures of a unary call are tried again, after what pause, and how many in all.

mod budget;

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::breaker::Subject;
use crate::wire::{Error, Kind};
use budget::Budget;

/// How long a caller without a deadline waits for a retry at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// The retries of a process.
pub(super) struct Retries {
    budget: Budget,
    delays: ExponentialBuilder,
}

impl Retries {
    /// Allows `limit` retries a call at most, and as many of all calls together as the budget has.
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

    /// The pauses of one call. The call adds to the budget.
    pub fn of_call(&self) -> ExponentialBackoff {
        self.budget.deposit();
        self.delays.build()
    }

    /// How long to pause after `error`, if it is worth another attempt before `deadline`.
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

/// How long to wait at least after `error`; `None` if it is not worth another attempt.
fn shortest_wait(error: &Error) -> Option<Duration> {
    match error.kind {
        Kind::ConnectFailed | Kind::Unavailable => Some(error.retry_after.unwrap_or_default()),
        Kind::RateLimited => error.retry_after,
        _ => None,
    }
}
