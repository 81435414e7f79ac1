//! Converts between the clock of Redis and our monotonic clock. The clocks of two replicas may differ,
//! so replicas tell each other times of the clock of Redis.

use std::time::Duration;

use tokio::time::Instant;

/// A measurement older than this is replaced, even by a less exact one.
const LIFETIME: Duration = Duration::from_secs(5);

/// A measurement: Redis ran a script at `time`, some time between `asked` and `answered`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RedisClock {
    asked: Instant,
    answered: Instant,
    /// In microseconds.
    time: u64,
}

impl RedisClock {
    pub fn new(asked: Instant, time: u64) -> Self {
        Self { asked, answered: Instant::now(), time }
    }

    /// The better one of two measurements: the more exact one, unless it is old.
    pub fn or(self, newer: Self) -> Self {
        let is_old = self.answered + LIFETIME < newer.answered;
        if is_old || newer.uncertainty() <= self.uncertainty() { newer } else { self }
    }

    /// What Redis' clock shows at `instant`, or a little less.
    pub fn time_of(&self, instant: Instant) -> u64 {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let since = instant.saturating_duration_since(self.answered);
        let until = self.answered.saturating_duration_since(instant);
        self.time.saturating_add(micros(since)).saturating_sub(micros(until) + 1)
    }

    /// When Redis' clock shows `time`, or a little earlier. At most now.
    pub fn instant_of(&self, time: u64) -> Instant {
        let since = Duration::from_micros(time.saturating_sub(self.time));
        let until = Duration::from_micros(self.time.saturating_sub(time));
        let instant = (self.asked + since).checked_sub(until);
        instant.unwrap_or(self.asked).min(Instant::now())
    }

    fn uncertainty(&self) -> Duration {
        self.answered.duration_since(self.asked)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn times_are_never_later_than_they_were() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        // Redis' clock shows 1 s at the start. It runs the scripts 10 ms and 90 ms after they were sent.
        let at = |instant: Instant| 1_000_000 + instant.duration_since(start).as_micros();
        advance(ms(100)).await;
        let sender = RedisClock::new(start, 1_010_000);
        let asked = Instant::now();
        advance(ms(100)).await;
        let receiver = RedisClock::new(asked, 1_190_000);
        for offset in [0, 50, 100, 150, 200, 5_000] {
            let sent = start + ms(offset);
            let told = sender.time_of(sent);
            assert!(u128::from(told) <= at(sent) && u128::from(told) + 90_001 >= at(sent));
            let heard = receiver.instant_of(told);
            assert!(heard <= sent && heard + ms(300) >= sent.min(Instant::now()), "{offset}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_exact_measurement_stays_for_a_while() {
        let exact = RedisClock::new(Instant::now(), 0);
        let asked = Instant::now();
        advance(LIFETIME).await;
        let vague = exact.or(RedisClock::new(asked, 5_000_000));
        assert_eq!(vague.uncertainty(), Duration::ZERO);
        advance(Duration::from_millis(1)).await;
        let newer = exact.or(RedisClock::new(asked, 5_000_000));
        assert!(newer.uncertainty() > LIFETIME);
    }
}
