//! The errors of a request that the quota does not admit.

use std::time::Duration;

use crate::wire::{Error, Kind};

/// The queue is full, or the turn would come after the deadline.
pub(super) fn exhausted(retry_after: Duration) -> Error {
    Error { retry_after: Some(retry_after), ..Error::new(Kind::QuotaExhausted) }
}

/// The vendor wants a pause.
pub(super) fn paused(retry_after: Duration) -> Error {
    Error { retry_after: Some(retry_after), ..Error::new(Kind::RateLimited) }
}
