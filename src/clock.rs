//! The time of day. Only this module reads the wall clock, so that all code that depends on time
//! runs under tokio's paused time in tests.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A source of the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self { anchor: None }
    }

    /// A clock that shows `at` now and advances with tokio's time, paused or not.
    pub fn anchored(at: Timestamp) -> Self {
        Self { anchor: Some((at, Instant::now())) }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match self.anchor {
            None => Timestamp::now(),
            Some((at, since)) => {
                let elapsed = SignedDuration::try_from(since.elapsed()).unwrap_or_default();
                at.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }
}
