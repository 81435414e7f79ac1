//! Whether the worker threads make progress. A task on them shows it by a heartbeat.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::interval;

/// How often the heartbeat is due.
const INTERVAL: Duration = Duration::from_secs(1);

/// How late the heartbeat may be before the workers count as stuck.
const LIMIT: Duration = Duration::from_secs(10);

/// Tells whether the workers are stuck. Clones share one heartbeat.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// When the heart beat last; none while no heartbeat is expected.
    latest: Arc<Mutex<Option<Instant>>>,
    limit: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Liveness {
    /// Workers that show no heartbeat for `limit` count as stuck.
    pub fn new(limit: Duration) -> Self {
        Self { latest: Arc::default(), limit }
    }

    /// Expects heartbeats from now on, until the heartbeat is dropped.
    pub fn expect(&self) -> Heartbeat {
        let heartbeat = Heartbeat(self.clone());
        heartbeat.beat();
        heartbeat
    }

    /// Whether the workers are stuck.
    pub fn is_stuck(&self) -> bool {
        self.latest.lock().is_some_and(|latest| latest.elapsed() > self.limit)
    }
}

/// Shows that the workers make progress.
#[derive(Debug)]
pub struct Heartbeat(Liveness);

impl Heartbeat {
    /// Beats until dropped, whenever a worker gets to it.
    pub async fn keep(self) {
        let mut beats = interval(INTERVAL);
        loop {
            beats.tick().await;
            self.beat();
        }
    }

    fn beat(&self) {
        *self.0.latest.lock() = Some(Instant::now());
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        *self.0.latest.lock() = None;
    }
}
