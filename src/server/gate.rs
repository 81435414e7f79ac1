//! Limits the number of open connections, and has the switches that cut them.

use std::sync::Arc;

use strum::{IntoStaticStr, VariantArray};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::metric;

/// Counts the open connections and cuts them. All clones share the count and the switches.
#[derive(Clone, Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    max_connections: usize,
    /// Cuts the connections that have not sent their HTTP/2 preface.
    pub(super) drain: CancellationToken,
    /// Cuts every connection.
    pub(super) kill: CancellationToken,
}

impl Gate {
    /// Creates a gate for at most `max_connections` open connections.
    pub fn new(max_connections: usize) -> Self {
        let max_connections = max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(max_connections)),
            max_connections,
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// Returns the number of open connections.
    pub fn open_connections(&self) -> usize {
        self.max_connections - self.permits.available_permits()
    }

    /// Cuts connections that have not sent their HTTP/2 preface, now and later, because a graceful
    /// shutdown does not end them.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Cuts every connection. Clients see broken streams, so drain first.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    /// Returns a permit for one more connection, if one is left.
    pub(super) fn admit(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        metrics::gauge!(metric::CONNECTIONS).increment(1);
        Some(Permit(permit))
    }
}

/// The permit of an open connection. Dropping it releases it.
#[derive(Debug)]
pub(super) struct Permit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Drop for Permit {
    fn drop(&mut self) {
        metrics::gauge!(metric::CONNECTIONS).decrement(1);
    }
}

/// Why the server cut a connection. docs/runbook.md explains each cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Cut {
    Dead,
    Drained,
    HandshakeTimeout,
    Http1,
    Killed,
    Resets,
    TlsHandshakeFailed,
    TooMany,
    TooOld,
}

impl Cut {
    /// All causes.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Counts a connection that the server cut.
pub(super) fn count_cut(cause: Cut) {
    metrics::counter!(metric::CONNECTIONS_CUT, "cause" => cause.name()).increment(1);
}
