//! Limits how often a client may reset calls before they are answered. A reset costs the client
//! almost nothing, but it costs the server the work of a call (CVE-2023-44487). A client that never
//! stops resetting loses its connection. A client that cancels all its in-flight calls at once
//! keeps its connection.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// How many resets a second a client may send permanently.
const RATE: f64 = 100.0;

/// Counts the resets of one connection with a token bucket. All clones share it.
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
    /// Creates a counter that allows a client to reset all its calls at once, twice in a row.
    pub fn new(max_streams: u32) -> Self {
        let burst = f64::from(max_streams) * 2.0 + RATE;
        let bucket = Mutex::new(Bucket { left: burst, at: Instant::now() });
        Self(Arc::new(Shared { burst, bucket, exceeded: Notify::new() }))
    }

    /// Counts a call as reset if the returned guard is dropped without an answer.
    pub fn expect_answer(&self) -> Unanswered {
        Unanswered(Some(self.clone()))
    }

    /// Waits until there are too many resets.
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

/// A call without an answer. If it is dropped, the client has reset the call.
pub(super) struct Unanswered(Option<Resets>);

impl Unanswered {
    /// Notes that the call was answered.
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
    async fn repeated_bursts_are_allowed() {
        let resets = Resets::new(1000);
        for _ in 0..10 {
            reset(&resets, 2000);
            advance(Duration::from_secs(20)).await;
        }
        assert!(resets.exceeded().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_high_rate_is_refused() {
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
