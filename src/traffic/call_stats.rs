//! What a call has asked of the vendor, for its line in the log.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicU32, Ordering},
};

/// Counts the requests of one call. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct CallStats(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    attempts: AtomicU32,
    /// The latest answer's HTTP status; 0 before the first.
    status: AtomicU16,
}

impl CallStats {
    /// How many requests the call has made, if any. One that shares another's has made none.
    pub fn attempts(&self) -> Option<u32> {
        Some(self.0.attempts.load(Ordering::Relaxed)).filter(|attempts| *attempts > 0)
    }

    /// The HTTP status of the latest answer, if there was one.
    pub fn upstream_status(&self) -> Option<u16> {
        Some(self.0.status.load(Ordering::Relaxed)).filter(|status| *status > 0)
    }

    /// Counts one more request, and gives how many went before.
    pub(super) fn begin(&self) -> u32 {
        self.0.attempts.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn answered(&self, status: u16) {
        self.0.status.store(status, Ordering::Relaxed);
    }
}
