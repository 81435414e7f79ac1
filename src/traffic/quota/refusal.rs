//! The errors of a request that the quota does not admit.

use std::time::Duration;

use crate::wire::{Error, Kind};

/// Too many requests wait, or the turn would come too late.
pub(super) fn exhausted(retry_after: Duration) -> Error {
    Error { retry_after: Some(retry_after), ..Error::new(Kind::QuotaExhausted) }
}

/// The vendor wants a pause.
pub(super) fn paused(retry_after: Duration) -> Error {
    Error { retry_after: Some(retry_after), ..Error::new(Kind::RateLimited) }
}
