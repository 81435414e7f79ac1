//! Decides when the next request may be sent, with a token bucket, a sliding window and an adaptive
//! rate (AIMD). It is pure: the caller passes the time.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::config::upstream::RATES;

/// The length of the window in which the vendor counts.
const WINDOW: Duration = Duration::from_secs(1);

/// A 429 multiplies the rate by this.
const SLOWER: f64 = 0.5;

/// A good answer adds this fraction of the limit to the rate. The rate rises from half to full in
/// 200 answers, about 35 s under full load.
const FASTER: f64 = 0.0025;

/// The lowest rate, as a fraction of the limit.
const SLOWEST: f64 = 1.0 / 16.0;

/// The longest `Retry-After` that is obeyed.
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// Tolerance, so that a rounding error does not cost a whole request.
const ALMOST: f64 = 1e-6;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    limit: f64,
    burst: f64,
    /// The window is longer by this.
    slack: Duration,
    rate: f64,
    tokens: f64,
    refilled_at: Instant,
    /// The latest admissions, oldest first. At most as many as one window may hold at the full
    /// rate.
    admitted: VecDeque<Instant>,
    paused_until: Option<Instant>,
    slowed_at: Option<Instant>,
}

impl Pace {
    /// Begins at the full rate, with a full burst available.
    pub(super) fn new(rps: f64, burst: u32, now: Instant) -> Self {
        let limit = if rps.is_finite() { rps.clamp(*RATES.start(), *RATES.end()) } else { 1.0 };
        let mut pace = Self {
            limit,
            burst: f64::from(burst),
            slack: Duration::ZERO,
            rate: limit,
            tokens: 0.0,
            refilled_at: now,
            admitted: VecDeque::new(),
            paused_until: None,
            slowed_at: None,
        };
        pace.tokens = pace.capacity();
        pace
    }

    /// Allows for requests that are sent later than they are admitted, by at most this.
    pub(super) fn with_slack(self, slack: Duration) -> Self {
        Self { slack, ..self }
    }

    /// Returns when the next request may be sent. Returns `now` if it may be sent at once.
    pub(super) fn ready_at(&mut self, now: Instant) -> Instant {
        self.refill(now);
        let lacking = seconds((1.0 - ALMOST - self.tokens) / self.rate);
        let by_tokens = later(now, lacking);
        self.blocked_until().map_or(by_tokens, |until| until.max(by_tokens))
    }

    /// Predicts when the `nth` request from now may be sent (1 = the next one), if nothing changes.
    pub(super) fn predict(&mut self, nth: usize, now: Instant) -> Instant {
        let first = self.ready_at(now);
        let at_once = self.tokens.max(1.0);
        later(first, seconds((count(nth) - at_once) / self.rate))
    }

    /// Counts a request that is sent now. Call this only when a request may be sent.
    pub(super) fn take(&mut self, now: Instant) {
        self.refill(now);
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.admitted.push_back(now);
        while self.admitted.len() > whole(self.limit) {
            self.admitted.pop_front();
        }
    }

    /// Uncounts the request that was counted at `at` but never sent.
    pub(super) fn give_back(&mut self, at: Instant, now: Instant) {
        self.refill(now);
        if let Some(place) = self.admitted.iter().rposition(|admitted| *admitted == at) {
            self.admitted.remove(place);
            self.tokens = (self.tokens + 1.0).min(self.capacity());
        }
    }

    /// Records a 429.
    pub(super) fn slow_down(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.refill(now);
        // Requests that were in flight at the first 429 often get a 429 too. These do not lower the
        // rate again.
        if self.slowed_at.is_none_or(|at| now.duration_since(at) >= WINDOW) {
            self.rate = (self.rate * SLOWER).max(self.limit * SLOWEST);
            self.slowed_at = Some(now);
        }
        self.tokens = 0.0;
        if let Some(pause) = retry_after {
            let until = later(now, pause.min(MAX_PAUSE));
            self.paused_until = self.paused_until.max(Some(until));
        }
    }

    /// Records any other answer.
    pub(super) fn speed_up(&mut self, now: Instant) {
        self.refill(now);
        self.rate = (self.rate + self.limit * FASTER).min(self.limit);
    }

    /// Returns the requests per second that are allowed now.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns the number of requests that were admitted in the last second.
    pub(super) fn used(&self, now: Instant) -> usize {
        self.admitted.iter().filter(|at| now.duration_since(**at) < WINDOW).count()
    }

    /// Returns the rest of the vendor's pause.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.duration_since(now))
    }

    /// Whether it behaves like a new one, or has been unused for so long that its state is
    /// meaningless.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.refill(now);
        let latest = self.admitted.back().copied().max(self.slowed_at).max(self.paused_until);
        let as_new = self.rate >= self.limit && self.tokens >= self.capacity() - ALMOST;
        let unused = latest.is_none_or(|at| now.duration_since(at) > MAX_PAUSE / 6);
        unused || (as_new && self.pause(now).is_zero() && self.used(now) == 0)
    }

    /// Adds the tokens that are due. While the window or the vendor blocks requests, at most one
    /// token is saved. With more, two bursts a window apart could reach the vendor within the same
    /// second.
    fn refill(&mut self, now: Instant) {
        if now <= self.refilled_at {
            return;
        }
        let open_at = self
            .blocked_until()
            .map_or(self.refilled_at, |until| until.clamp(self.refilled_at, now));
        let blocked = open_at.duration_since(self.refilled_at).as_secs_f64();
        let open = now.duration_since(open_at).as_secs_f64();
        let one = self.tokens.max(1.0);
        self.tokens = (self.tokens + blocked * self.rate).min(one);
        self.tokens = (self.tokens + open * self.rate).min(self.capacity());
        self.refilled_at = now;
    }

    /// Returns until when the window or the vendor blocks the next request.
    fn blocked_until(&self) -> Option<Instant> {
        let most = whole(self.rate);
        let length = seconds(count(most) / self.rate).max(WINDOW);
        let oldest = self.admitted.len().checked_sub(most).and_then(|at| self.admitted.get(at));
        oldest.map(|at| later(*at, length + self.slack)).max(self.paused_until)
    }

    fn capacity(&self) -> f64 {
        self.burst.clamp(1.0, count(whole(self.rate)))
    }
}

/// Returns how many requests fit into a window at this rate: the rate rounded down, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
pub(super) fn whole(rate: f64) -> usize {
    (rate + ALMOST).floor().clamp(1.0, *RATES.end()) as usize
}

#[expect(clippy::cast_precision_loss, reason = "no queue is longer than 2^52")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

/// Converts seconds to a duration. Negative values become zero, and values that are too large
/// become [`MAX_PAUSE`].
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(MAX_PAUSE)
}

fn later(at: Instant, duration: Duration) -> Instant {
    at.checked_add(duration).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_after_a_burst_are_evenly_spaced() {
        let start = Instant::now();
        let mut pace = Pace::new(8.0, 8, start);
        let mut at = Vec::new();
        let mut now = start;
        for _ in 0..24 {
            now = pace.ready_at(now);
            pace.take(now);
            at.push((now - start).as_millis());
        }
        let smooth = (8..24).map(|nth| 1000 + (nth - 8) * 125);
        let expected: Vec<u128> = std::iter::repeat_n(0, 8).chain(smooth).collect();
        let off: u128 = at.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(off <= 1, "{at:?}");
    }

    #[test]
    fn requests_are_sent_when_predicted() {
        let start = Instant::now();
        let mut pace = Pace::new(8.0, 8, start);
        (0..8).for_each(|_| pace.take(start));
        for nth in 1..40 {
            let predicted = pace.predict(nth, start);
            let mut played = pace.clone();
            let mut now = start;
            for _ in 0..nth {
                now = played.ready_at(now);
                played.take(now);
            }
            let off = predicted.max(now) - predicted.min(now);
            assert!(off < Duration::from_millis(2), "{nth}: {off:?}");
        }
    }

    #[test]
    fn simultaneous_refusals_halve_the_rate_only_once() {
        let start = Instant::now();
        let mut pace = Pace::new(8.0, 8, start);
        (0..8).for_each(|_| pace.slow_down(None, start));
        assert!((pace.rate() - 4.0).abs() < 0.01);
        let second = start + Duration::from_secs(1);
        pace.slow_down(None, second);
        assert!((pace.rate() - 2.0).abs() < 0.01);
    }

    #[test]
    fn invalid_settings_still_limit_the_rate() {
        let start = Instant::now();
        for rps in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
            let mut pace = Pace::new(rps, 0, start);
            let ready = pace.ready_at(start);
            pace.take(ready);
            assert!(pace.ready_at(ready) > ready);
        }
    }

    proptest! {
        #[test]
        fn no_window_of_a_second_holds_more_than_the_quota(
            rps in 0.2..20.0_f64,
            burst in 0..30_u32,
            steps in prop::collection::vec((0..3000_u64, 0..12_u8), 1..300),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut pace = Pace::new(rps, burst, start);
            let mut admitted = Vec::new();
            for (wait, what) in steps {
                now += Duration::from_millis(wait / 8);
                match what {
                    0 => pace.slow_down(None, now),
                    1 => pace.speed_up(now),
                    2 => if let Some(at) = admitted.pop() { pace.give_back(at, now); },
                    _ => {
                        now = pace.ready_at(now);
                        prop_assert_eq!(pace.ready_at(now), now);
                        pace.take(now);
                        admitted.push(now);
                    }
                }
            }
            let most = whole(rps);
            for window in admitted.windows(most + 1) {
                prop_assert!(window[most] - window[0] >= WINDOW);
            }
        }
    }
}
