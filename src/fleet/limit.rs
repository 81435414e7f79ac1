//! The limit that all replicas share, and the times on which its safety rests. `quota.lua` has the
//! same times. It is pure.

use std::time::Duration;

use super::pace::{count, seconds, whole};

/// How long a permit is valid after its question was sent.
pub(super) const VALID: Duration = Duration::from_millis(200);

/// When the account keeps the share of a silent replica free.
pub(super) const RESERVED_AFTER: Duration = Duration::from_millis(250);

/// A longer wait for an answer counts as no answer.
pub(super) const TIMELY: Duration = Duration::from_millis(250);

/// The time between admission and sending. The window is longer by this.
pub(super) const SLACK: Duration = Duration::from_millis(50);

/// When a replica goes on alone, at rates of at least one request per second: the time until its
/// share is kept free, until the permits of others end, and until a window has passed.
pub const ALONE_AFTER: Duration = Duration::from_millis(250 + 200 + 1050);

/// The lowest rate after refusals, as a fraction of the limit.
const SLOWEST: f64 = 1.0 / 16.0;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// The most requests per second.
    pub rps: f64,
    /// The size of a burst.
    pub burst: u32,
}

impl Limit {
    /// How many requests a window may hold.
    pub fn most(self) -> usize {
        whole(self.rps)
    }

    /// The length of a window.
    pub fn window(self) -> Duration {
        window(self.rps)
    }

    /// The length of a window at the lowest rate.
    pub fn longest_window(self) -> Duration {
        window(self.rps * SLOWEST)
    }
}

fn window(rate: f64) -> Duration {
    seconds(count(whole(rate)) / rate).max(Duration::from_secs(1)) + SLACK
}

#[cfg(test)]
mod tests {
    use super::{super::account::SCRIPT, *};

    #[test]
    fn the_script_has_the_same_times() {
        let [valid, reserved, slack] = [VALID, RESERVED_AFTER, SLACK].map(|time| time.as_micros());
        let line = format!("local VALID, RESERVED_AFTER, SLACK = {valid}, {reserved}, {slack}\n");
        assert!(SCRIPT.contains(&line));
        assert_eq!(ALONE_AFTER, RESERVED_AFTER + VALID + Limit { rps: 8.0, burst: 8 }.window());
    }
}
