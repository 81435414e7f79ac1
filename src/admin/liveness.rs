//! Whether the threads of the service make progress: each shows it by a heartbeat.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::interval;

/// How often a thread shows that it makes progress.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a thread may show none before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(10);

/// The heartbeats of all threads. Clones are one.
#[derive(Clone, Debug)]
pub struct Liveness {
    threads: Arc<Mutex<Vec<Thread>>>,
    start: Instant,
    limit: Duration,
}

#[derive(Debug)]
struct Thread {
    name: String,
    /// Of the latest heartbeat, in milliseconds since the start.
    beat: Arc<AtomicU64>,
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Liveness {
    /// A thread that shows no progress for `limit` is stuck.
    pub fn new(limit: Duration) -> Self {
        Self { threads: Arc::default(), start: Instant::now(), limit }
    }

    /// Expects heartbeats of a thread from now on, until the heartbeat is dropped.
    pub fn expect(&self, name: impl Into<String>) -> Heartbeat {
        let beat = Arc::new(AtomicU64::new(self.elapsed()));
        self.threads().push(Thread { name: name.into(), beat: beat.clone() });
        Heartbeat { liveness: self.clone(), beat }
    }

    /// The names of the threads that are stuck.
    pub fn stuck(&self) -> Vec<String> {
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        let now = self.elapsed();
        let is_stuck =
            |thread: &&Thread| now.saturating_sub(thread.beat.load(Ordering::Relaxed)) > limit;
        self.threads().iter().filter(is_stuck).map(|thread| thread.name.clone()).collect()
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By this a thread shows that it makes progress.
#[derive(Debug)]
pub struct Heartbeat {
    liveness: Liveness,
    beat: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Beats for ever, as long as the runtime that polls this gets to it.
    pub async fn keep(self) {
        let mut beats = interval(INTERVAL);
        loop {
            beats.tick().await;
            self.beat.store(self.liveness.elapsed(), Ordering::Relaxed);
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.liveness.threads().retain(|thread| !Arc::ptr_eq(&thread.beat, &self.beat));
    }
}
