//! The state of the quota at one moment, for the status page and the metrics.

use std::time::Duration;

/// The state of the quota at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// Requests per second that are allowed now. It is below `limit` after a 429. If each
    /// credential has its own quota, this is the lowest rate.
    pub rate: f64,
    /// Requests per second that are allowed at best.
    pub limit: f64,
    /// Requests admitted in the latest second.
    pub used: usize,
    /// Unary calls that wait for their turn.
    pub waiting_unary: usize,
    /// Watches that wait for their turn.
    pub waiting_watches: usize,
    /// The rest of a pause that the vendor wants (`Retry-After`). If each credential has its own
    /// quota, this is the longest pause.
    pub pause: Duration,
}

impl Snapshot {
    pub(super) fn unused(limit: f64) -> Self {
        let (rate, pause) = (limit, Duration::ZERO);
        Self { rate, limit, used: 0, waiting_unary: 0, waiting_watches: 0, pause }
    }

    pub(super) fn merge(self, other: Self) -> Self {
        Self {
            rate: self.rate.min(other.rate),
            limit: self.limit,
            used: self.used + other.used,
            waiting_unary: self.waiting_unary + other.waiting_unary,
            waiting_watches: self.waiting_watches + other.waiting_watches,
            pause: self.pause.max(other.pause),
        }
    }
}
