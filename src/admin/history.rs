//! The upstream requests of the last minutes, for the chart of the status page.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::snapshot::Snapshot;

/// Bars of the chart. One bar is ten seconds, so the chart shows ten minutes.
pub const BARS: usize = 60;

/// The request rates of the last minutes. All clones share them.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: Arc<Mutex<VecDeque<Sample>>>,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    requests: u64,
    failed: u64,
}

/// Requests per second between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// All requests.
    pub requests: f64,
    /// Failed requests.
    pub failed: f64,
}

impl Sample {
    /// The current counts.
    pub fn of(snapshot: &Snapshot) -> Self {
        let upstream = &snapshot.upstream;
        Self { at: Instant::now(), requests: upstream.requests, failed: upstream.failed_requests }
    }

    fn rate_since(&self, before: &Self) -> Rate {
        let seconds = (self.at - before.at).as_secs_f64().max(f64::EPSILON);
        let per_second = |now: u64, before: u64| {
            // There are never more than 2^32 requests between two samples.
            let sent = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
            f64::from(sent) / seconds
        };
        Rate {
            requests: per_second(self.requests, before.requests),
            failed: per_second(self.failed, before.failed),
        }
    }
}

impl History {
    /// Adds a sample and drops the oldest one.
    pub fn push(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        samples.push_back(sample);
        if samples.len() > BARS + 1 {
            samples.pop_front();
        }
    }

    /// The rates, oldest first. There are at most [`BARS`].
    pub fn rates(&self) -> Vec<Rate> {
        let samples = self.samples.lock();
        samples.iter().zip(samples.iter().skip(1)).map(|(a, b)| b.rate_since(a)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rates_are_what_came_between_samples_and_old_ones_are_forgotten() {
        let history = History::default();
        let mut snapshot = Snapshot::default();
        for _ in 0..100 {
            history.push(Sample::of(&snapshot));
            snapshot.upstream.requests += 50;
            snapshot.upstream.failed_requests += 5;
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        assert_eq!(history.rates(), [Rate { requests: 5.0, failed: 0.5 }; BARS]);
    }
}
