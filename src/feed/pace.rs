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

/// How much there is to learn from a session that has been in `status` for `age`: the square root
/// of its rate of change.
///
/// Asking each session in proportion to that root makes the mean delay of news least when the
/// quota does not suffice for all (minimise Σ rateᵢ·intervalᵢ under Σ 1/intervalᵢ = quota).
/// The rates are those of a help desk's day: a customer joins within a minute or two or not for
/// long; a session lasts for some ten minutes to an hour; one that waits to be started may wait
/// for days.
pub(super) fn weight(status: Status, age: Duration) -> f64 {
    let age = age.as_secs_f64();
    let expected_wait = match status {
        Status::NotStarted => 300.0 + age,
        Status::Waiting => 45.0 + age,
        Status::Active | Status::Unknown => 900.0 + age / 4.0,
        Status::Complete | Status::Abandoned => 3600.0 + age,
    };
    (1.0 / expected_wait).sqrt()
}
