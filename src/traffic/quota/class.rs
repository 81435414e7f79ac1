//! The class of a request. The queue orders requests by it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What a request is for.
#[derive(Clone, Debug)]
pub enum Class {
    /// A call that a caller waits for.
    Unary,
    /// A poll for a watch.
    Watch(Urgency),
}

/// How much a poll would learn. While quota is scarce, it decides which session is polled first.
#[derive(Clone, Debug)]
pub struct Urgency {
    /// When the vendor was last asked for the session.
    pub since: Instant,
    /// How often to poll the session, relative to others.
    pub weight: f64,
    /// Whether the session has probably changed.
    pub hint: Hint,
}

/// A hint that a session has changed. A request with a hint goes ahead of other polls.
///
/// All clones share one state, so a hint also speeds up a request that is waiting already. Sending a
/// request takes the hint. A hint that comes later is for the next request.
#[derive(Clone, Debug, Default)]
pub struct Hint(Arc<Mutex<Option<Instant>>>);

impl Hint {
    /// Gives the hint. Returns false if there is one already, which keeps its time.
    pub fn give(&self) -> bool {
        let mut since = self.0.lock();
        let is_new = since.is_none();
        since.get_or_insert_with(Instant::now);
        is_new
    }

    /// Returns when the hint was given, if nobody has taken it.
    pub fn since(&self) -> Option<Instant> {
        *self.0.lock()
    }

    /// Takes the hint, because a request for the session is sent now.
    pub fn take(&self) -> Option<Instant> {
        self.0.lock().take()
    }
}
