//! How often a session is worth asking for.

use std::time::Duration;

use crate::model::Status;

/// How often a session is asked for while there is quota to spare, by its status.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Created, not started.
    pub not_started: Duration,
    /// Waits for the customer.
    pub waiting: Duration,
    /// The customer is in; also for a status that nobody knows.
    pub active: Duration,
    /// Over; only notes and the recording can come.
    pub ended: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            not_started: Duration::from_secs(10),
            waiting: Duration::from_secs(3),
            active: Duration::from_secs(5),
            ended: Duration::from_mins(1),
        }
    }
}

/// Intervals vary by this fraction either way, so that polls which began together drift apart.
const JITTER: f64 = 0.1;

impl Pace {
    /// The time from one answer to the next question.
    pub fn interval(&self, status: Status) -> Duration {
        match status {
            Status::NotStarted => self.not_started,
            Status::Waiting => self.waiting,
            Status::Active | Status::Unknown => self.active,
            Status::Complete | Status::Abandoned => self.ended,
        }
    }
}

/// `interval`, a little shorter or longer.
pub(super) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

/// How much more there is to learn from a session that has been in `status` for `age` than from an
/// active one in mid-life.
///
/// While the quota does not suffice, a session is asked for as often as its weight says, so what
/// one gains another loses. Asked for more often: who waits for somebody, since most sessions are
/// started, and most customers join, within minutes or not for long. In return less often: who has
/// just begun to work together, since hardly a session is over after a minute, and what is over.
/// docs/watch.md tells what that gains, and what it costs where the lives are other ones.
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
