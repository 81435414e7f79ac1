//! Detects stuck worker threads. A task on the workers sends a heartbeat.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::interval;

/// Interval of the heartbeat.
const INTERVAL: Duration = Duration::from_secs(1);

/// Age of the last heartbeat after which the workers count as stuck.
const LIMIT: Duration = Duration::from_secs(10);

/// Reports whether the workers are stuck. All clones share one heartbeat.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// The time of the last heartbeat. `None` while no heartbeat is expected.
    latest: Arc<Mutex<Option<Instant>>>,
    limit: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Liveness {
    /// Creates a detector. Workers without a heartbeat for `limit` count as stuck.
    pub fn new(limit: Duration) -> Self {
        Self { latest: Arc::default(), limit }
    }

    /// Starts to expect heartbeats, until the returned heartbeat is dropped.
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

/// The heartbeat of the workers.
#[derive(Debug)]
pub struct Heartbeat(Liveness);

impl Heartbeat {
    /// Sends heartbeats until it is dropped. A heartbeat needs a worker that runs this task.
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
