//! How often a session is polled.

use std::time::Duration;

use crate::model::Status;

/// How often a session is polled while there is quota to spare, by its status.
#[derive(Clone, Copy, Debug)]
pub struct PollIntervals {
    /// For `notStarted`.
    pub not_started: Duration,
    /// For `waiting`.
    pub waiting: Duration,
    /// For `active` and unknown statuses.
    pub active: Duration,
    /// For `complete` and `abandoned`. Only the notes and the recording can still change then.
    pub ended: Duration,
}

impl Default for PollIntervals {
    fn default() -> Self {
        Self {
            not_started: Duration::from_secs(10),
            waiting: Duration::from_secs(3),
            active: Duration::from_secs(5),
            ended: Duration::from_mins(1),
        }
    }
}

impl PollIntervals {
    /// Returns the time from an answer to the next request.
    pub fn of(&self, status: Status) -> Duration {
        match status {
            Status::NotStarted => self.not_started,
            Status::Waiting => self.waiting,
            Status::Active | Status::Unknown => self.active,
            Status::Complete | Status::Abandoned => self.ended,
        }
    }
}

/// Intervals vary by this fraction in both directions, so that polls that began together drift
/// apart.
pub(super) const JITTER: f64 = 0.1;

/// `interval` with jitter.
pub(super) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

/// The first and the longest backoff. The backoff doubles with each failure. It stays short, so that
/// an outage is over for watchers when it is over. The circuit breaker keeps most of these polls from
/// the vendor.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));

/// The longest `Retry-After` that a poll obeys. For a 429, the quota obeys the full `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Returns the pause after this many failures in a row.
pub(super) fn backoff(failures: u32, retry_after: Option<Duration>) -> Duration {
    doubled(BACKOFF, failures).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// The pause after this many failures in a row, from the first and the longest pause.
pub(super) fn doubled((first, longest): (Duration, Duration), failures: u32) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(longest)
}

/// How likely a poll finds a change in a session that has been in `status` for `age`, relative to
/// an active session in the middle of its life.
///
/// While quota is scarce, a session is polled in proportion to its weight. New and waiting sessions
/// get more weight: most sessions start, and most customers join, within minutes or not for a long
/// time. Sessions that have just become active get less, because few end within a minute. Finished
/// sessions also get less. The documentation of watches has the figures.
pub(super) fn weight(status: Status, age: Duration) -> f64 {
    let minutes = age.as_secs_f64() / 60.0;
    match status {
        Status::NotStarted => 1.0 + 2.0 / (1.0 + (minutes / 2.5).powi(2)),
        Status::Waiting => 1.0 + 2.5 / (1.0 + (minutes / 2.0).powi(2)),
        Status::Active => (minutes / 10.0).powi(2).clamp(0.2, 1.0),
        Status::Unknown => 1.0,
        Status::Complete | Status::Abandoned => 0.2,
    }
}

/// The weight of a session whose poll interval is stretched because the vendor's list shows it. The
/// list tells how likely a change is. What remains is equal for all sessions, such as late notes.
pub(super) fn stretched(weight: f64, stretch: f64) -> f64 {
    (1.0 + (weight - 1.0) / stretch) / stretch
}
