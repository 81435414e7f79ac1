//! How many connections may be open, and the switches that cut them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::metric;

/// Counts the open connections and cuts them. All clones are one gate.
#[derive(Clone, Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    max_connections: usize,
    /// Cuts the connections that do not speak HTTP/2 yet.
    pub(super) drain: CancellationToken,
    /// Cuts every connection.
    pub(super) kill: CancellationToken,
}

impl Gate {
    /// A gate that lets `max_connections` be open at a time.
    pub fn new(max_connections: usize) -> Self {
        let max_connections = max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(max_connections)),
            max_connections,
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.max_connections - self.permits.available_permits()
    }

    /// Cuts the connections that have not begun to speak HTTP/2, now and from now on, because a
    /// graceful shutdown does not end these.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Cuts every connection. Clients see a broken stream, so drain first.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    /// A permit for one more connection, if one is left.
    pub(super) fn admit(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        metrics::gauge!(metric::CONNECTIONS).increment(1);
        Some(Permit(permit))
    }
}

/// The permit to be open. It is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Drop for Permit {
    fn drop(&mut self) {
        metrics::gauge!(metric::CONNECTIONS).decrement(1);
    }
}

/// Counts a connection that the server cut.
pub(super) fn count_cut(cause: &'static str) {
    metrics::counter!(metric::CONNECTIONS_CUT, "cause" => cause).increment(1);
}
