//! How often a client may reset calls that have no answer yet. Each costs the server the work for a
//! call and its client next to nothing (CVE-2023-44487), so that a client which never stops loses its
//! connection. A client that cancels everything it has in flight at once does not.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// How many resets a second a client may send for as long as it likes.
const RATE: f64 = 100.0;

/// The resets of one connection: a bucket from which each takes one, and which fills again in time.
/// Clones are one.
#[derive(Clone, Debug)]
pub(super) struct Resets(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    burst: f64,
    bucket: Mutex<Bucket>,
    exceeded: Notify,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Resets {
    /// All calls of a connection may be reset at once, and so may those that follow them.
    pub fn new(max_streams: u32) -> Self {
        let burst = f64::from(max_streams) * 2.0 + RATE;
        let bucket = Mutex::new(Bucket { left: burst, at: Instant::now() });
        Self(Arc::new(Shared { burst, bucket, exceeded: Notify::new() }))
    }

    /// A call has come in.
    pub fn expect_answer(&self) -> Unanswered {
        Unanswered(Some(self.clone()))
    }

    /// Returns when there were too many.
    pub async fn exceeded(&self) {
        self.0.exceeded.notified().await;
    }

    fn count(&self) {
        let now = Instant::now();
        let mut bucket = self.0.bucket.lock();
        let passed: Duration = now.saturating_duration_since(bucket.at);
        bucket.left = passed.as_secs_f64().mul_add(RATE, bucket.left).min(self.0.burst) - 1.0;
        bucket.at = now;
        if bucket.left < 0.0 {
            self.0.exceeded.notify_one();
        }
    }
}

/// A call without an answer. Dropped as such, it counts as reset by its client.
pub(super) struct Unanswered(Option<Resets>);

impl Unanswered {
    /// Here is its answer.
    pub fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(resets) = self.0.take() {
            resets.count();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    fn reset(resets: &Resets, count: usize) {
        for _ in 0..count {
            drop(resets.expect_answer());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_fine_and_so_is_the_next_one_later() {
        let resets = Resets::new(1000);
        for _ in 0..10 {
            reset(&resets, 2000);
            advance(Duration::from_secs(20)).await;
        }
        assert!(resets.exceeded().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_does_not_end_is_too_much() {
        let resets = Resets::new(1000);
        for _ in 0..10 {
            reset(&resets, 500);
            advance(Duration::from_secs(1)).await;
        }
        assert!(resets.exceeded().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_do_not_count() {
        let resets = Resets::new(10);
        for _ in 0..10_000 {
            resets.expect_answer().answered();
        }
        assert!(resets.exceeded().now_or_never().is_none());
    }
}
