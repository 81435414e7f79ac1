//! When to try again after a failure, and how long a stream may be silent.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::Failure;

/// The shortest and the longest backoff before the next try. The backoff doubles after each try
/// that brings no message. A random time, at most as long as the backoff, is added to it, so that
/// many clients do not return together.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Longest wait, even if the service asks for more.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// The service's default heartbeat interval, and its longest one.
const HEARTBEAT: Duration = Duration::from_secs(30);
const LONGEST_HEARTBEAT: Duration = Duration::from_mins(5);

/// A broken stream, and the next try.
#[derive(Clone, Debug)]
pub struct Interruption {
    /// Why it broke.
    pub failure: Failure,
    /// Time until the next try.
    pub delay: Duration,
    /// Failed tries since the last message, including this one.
    pub attempt: u32,
}

/// Counts failed tries, and lets more and more time pass between them.
pub(super) struct Retry {
    delays: ExponentialBackoff,
    attempt: u32,
}

impl Retry {
    pub fn new() -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .with_jitter()
            .without_max_times()
            .build();
        Self { delays, attempt: 0 }
    }

    /// Failed tries since the last success.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Notes a failed try. Returns when the next one is due.
    pub fn after(&mut self, failure: Failure) -> Interruption {
        self.attempt += 1;
        let backoff = self.delays.next().unwrap_or(LONGEST_DELAY);
        let delay = match failure.retry_after {
            // After the first failure, the delay from the service replaces the backoff. After more
            // failures, the longer of the two counts.
            Some(asked) if self.attempt == 1 => asked,
            Some(asked) => asked.max(backoff),
            None => backoff,
        };
        Interruption { failure, delay: delay.min(LONGEST_RETRY_AFTER), attempt: self.attempt }
    }
}

/// What a watch does when its stream breaks.
pub(super) struct Resumption {
    pub notify: Box<dyn FnMut(&Interruption) + Send>,
    pub is_on: bool,
    retry: Retry,
}

impl Resumption {
    pub fn new() -> Self {
        Self { notify: Box::new(|_| ()), is_on: true, retry: Retry::new() }
    }

    /// Failed tries since the last message.
    pub fn attempt(&self) -> u32 {
        self.retry.attempt()
    }

    /// Notes that a message came, so that the next backoff is the shortest again.
    pub fn note_message(&mut self) {
        self.retry = Retry::new();
    }

    /// Returns when the next stream may begin, or the failure if no stream follows.
    pub fn after(&mut self, failure: Failure) -> Result<Instant, Failure> {
        if !self.is_on || !failure.is_worth_resuming() {
            return Err(failure);
        }
        let interruption = self.retry.after(failure);
        let begins_at = Instant::now() + interruption.delay;
        (self.notify)(&interruption);
        Ok(begins_at)
    }
}

/// Twice the heartbeat interval and a margin. After this time without a message, a stream counts as
/// dead.
pub(super) fn longest_silence(heartbeat_interval: Option<prost_types::Duration>) -> Duration {
    let asked = heartbeat_interval.and_then(|asked| asked.try_into().ok());
    let heartbeat = match asked {
        None | Some(Duration::ZERO) => HEARTBEAT,
        Some(interval) => LONGEST_HEARTBEAT.min(interval),
    };
    heartbeat * 2 + Duration::from_secs(10)
}
