//! The requests to the vendor in the last minutes, for the chart of the status page.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::snapshot::Snapshot;

/// Bars of the chart, one every ten seconds: ten minutes.
pub const BARS: usize = 60;

/// The last minutes. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: Arc<Mutex<VecDeque<Sample>>>,
}

/// What had been sent by one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    requests: u64,
    failed: u64,
}

/// Requests a second between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// All.
    pub requests: f64,
    /// Those of them that failed.
    pub failed: f64,
}

impl Sample {
    /// What has been sent by now.
    pub fn of(snapshot: &Snapshot) -> Self {
        let upstream = &snapshot.upstream;
        Self { at: Instant::now(), requests: upstream.requests, failed: upstream.failed_requests }
    }

    fn rate_since(&self, before: &Self) -> Rate {
        let seconds = (self.at - before.at).as_secs_f64().max(f64::EPSILON);
        let per_second = |now: u64, before: u64| {
            // More than 2^32 requests between two samples are not sent.
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
    /// Adds a sample and forgets the oldest.
    pub fn push(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        samples.push_back(sample);
        if samples.len() > BARS + 1 {
            samples.pop_front();
        }
    }

    /// The rates, oldest first, [`BARS`] at most.
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
