//! The right of a replica to go on without Redis, with its share of the quota. It is pure: the
//! caller passes the time.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    limit::{Limit, RESERVED_AFTER, SLACK, VALID},
    pace::{Pace, count},
    uses::Uses,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Alone {
    limit: Limit,
    /// How long the right lasts. For as long, the account keeps the share free.
    lasts: Duration,
    share: u64,
    /// When the share became larger. Until then, others could use what it has now.
    grown_at: Option<Instant>,
    pace: Pace,
    /// When the latest question was sent that was answered in time, and a time of the server before
    /// that.
    confirmed: Option<(Instant, u64)>,
    /// When the latest question was sent after which the account knew this replica.
    known_at: Option<Instant>,
}

impl Alone {
    pub fn new(limit: Limit, lasts: Duration, now: Instant) -> Self {
        let pace = Pace::new(limit.rps, limit.burst, now);
        Self { limit, lasts, share: 0, grown_at: None, pace, confirmed: None, known_at: None }
    }

    /// The pace, if the replica is alone now and has a share.
    pub fn pace(&mut self, now: Instant) -> Option<&mut Pace> {
        (self.has_begun(now) && self.share(now) > 0).then_some(&mut self.pace)
    }

    /// Whether the replica may no longer use permits, because it is cut off.
    pub fn has_begun(&self, now: Instant) -> bool {
        let others_end = VALID + self.limit.window();
        let is_cut_off = |(sent, _)| now >= sent + RESERVED_AFTER + others_end;
        let is_ours = self.grown_at.is_none_or(|at| now >= at + others_end);
        self.confirmed.is_some_and(is_cut_off) && is_ours
    }

    /// The share, as long as the right lasts.
    pub fn share(&self, now: Instant) -> u64 {
        let is_known = self.known_at.is_some_and(|at| now.duration_since(at) < self.lasts);
        if is_known { self.share } else { 0 }
    }

    /// The requests per second of the share.
    pub fn rate(&self, now: Instant) -> f64 {
        let share = f64::from(u32::try_from(self.share(now)).unwrap_or(u32::MAX));
        share * (self.limit.rps / count(self.limit.most())).min(1.0)
    }

    /// A time of the server at which the latest question that was answered in time was not yet sent.
    pub fn confirmed(&self) -> Option<u64> {
        self.confirmed.map(|(_, time)| time)
    }

    /// Whether a question that was sent within this time was answered in time.
    pub fn is_confirmed_within(&self, time: Duration, now: Instant) -> bool {
        self.confirmed.is_some_and(|(sent, _)| now < sent + time)
    }

    /// Records that the question that was sent at `sent` was answered in time. The server's clock
    /// showed `time` or more then.
    pub fn confirm(&mut self, sent: Instant, time: u64) {
        self.confirmed = Some((sent, time));
    }

    /// Records that the account has a share for this replica.
    pub fn note_known(&mut self, sent: Instant) {
        self.known_at = Some(sent);
    }

    /// Replaces the share. The pace remembers the latest requests.
    pub fn set_share(&mut self, share: u64, uses: &Uses, now: Instant) {
        if self.share == share {
            return;
        }
        if share > self.share {
            self.grown_at = Some(now);
        }
        self.share = share;
        let oldest = uses.times().next().unwrap_or(now);
        let most = u64::try_from(self.limit.most()).unwrap_or(u64::MAX);
        let burst = u32::try_from(u64::from(self.limit.burst) * share / most).unwrap_or(u32::MAX);
        self.pace = Pace::new(self.rate(now), burst, oldest).with_slack(SLACK);
        uses.times().for_each(|at| self.pace.take(at));
    }

    /// Uncounts a request that was never sent.
    pub fn give_back(&mut self, at: Instant, now: Instant) {
        self.pace.give_back(at, now);
    }

    /// Records a 429. Returns the pause that the vendor wants.
    pub fn slow_down(&mut self, retry_after: Option<Duration>, now: Instant) -> Duration {
        self.pace.slow_down(retry_after, now);
        self.pace.pause(now)
    }

    /// Records any other answer.
    pub fn speed_up(&mut self, now: Instant) {
        self.pace.speed_up(now);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::limit::ALONE_AFTER, *};

    #[test]
    fn a_share_is_used_alone_once_others_cannot_use_it_and_only_for_a_while() {
        let (start, hour, uses) = (Instant::now(), Duration::from_hours(1), Uses::default());
        let limit = Limit { rps: 8.0, burst: 8 };
        let mut alone = Alone::new(limit, hour, start);
        assert!(!alone.has_begun(start + hour), "it has no share yet");
        alone.confirm(start, 1);
        alone.note_known(start);
        alone.set_share(2, &uses, start);
        let cut_off = start + ALONE_AFTER;
        assert!(!alone.has_begun(start + ALONE_AFTER.saturating_sub(Duration::from_millis(1))));
        assert!(alone.pace(cut_off).is_some());
        // A late answer brings a larger share.
        alone.set_share(3, &uses, cut_off);
        assert!(alone.pace(cut_off).is_none());
        assert!(alone.pace(cut_off + VALID + limit.window()).is_some());
        assert!((alone.rate(cut_off) - 3.0).abs() < 0.01);
        assert_eq!(alone.share(start + hour), 0);
        assert!(alone.pace(start + hour).is_none());
    }
}
