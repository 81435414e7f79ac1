//! What reading the vendor's list costs, in requests for single sessions.

use std::time::Duration;

/// What one reading of the list costs, in requests for single sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost(f64);

/// The bytes, and the seconds, that cost as much as a request.
const BYTES: f64 = 1_048_576.0;
const SECONDS: f64 = 1.0;

/// The shortest time between two readings.
const SHORTEST: Duration = Duration::from_secs(2);

/// The list may cost this many requests a second.
const BUDGET: f64 = 2.0;

impl Cost {
    /// The cost before the first reading.
    pub const UNKNOWN: Self = Self(4.0);

    /// The cost of a reading that had so many bytes and took so long.
    #[expect(clippy::cast_precision_loss, reason = "no list is longer than 2^52 bytes")]
    pub fn of(bytes: usize, took: Duration) -> Self {
        Self(1.0 + bytes as f64 / BYTES + took.as_secs_f64() / SECONDS)
    }

    /// The time from one reading to the next.
    pub fn interval(self) -> Duration {
        Duration::from_secs_f64(self.0 / BUDGET).max(SHORTEST)
    }

    /// Whether reading the list costs less than the requests a second that single polls take to be
    /// as fresh, divided by `advantage`.
    pub fn pays(self, rate: f64, advantage: f64) -> bool {
        rate > advantage * self.0 / self.interval().as_secs_f64()
    }

    /// Moves towards [`Cost::UNKNOWN`], so that a list that was expensive once is tried again.
    pub fn forget_a_little(&mut self) {
        self.0 += (Self::UNKNOWN.0 - self.0) / 100.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavy_list_is_read_rarely_and_only_for_many_sessions() {
        let light = Cost::of(100_000, Duration::from_millis(100));
        assert_eq!(light.interval(), SHORTEST);
        assert!(!light.pays(1.0, 2.0) && light.pays(2.0, 2.0));
        let heavy = Cost::of(40_000_000, Duration::from_secs(3));
        assert!(heavy.interval() > Duration::from_secs(20));
        assert!(!heavy.pays(3.0, 2.0) && heavy.pays(5.0, 2.0));
    }

    #[test]
    fn an_expensive_list_is_tried_again() {
        let mut cost = Cost::of(1 << 30, Duration::from_mins(1));
        let sessions = 100.0;
        let mut checks = 0;
        while !cost.pays(sessions / cost.interval().as_secs_f64(), 2.0) {
            cost.forget_a_little();
            checks += 1;
        }
        assert!((100..2_000).contains(&checks), "{checks}");
    }
}
