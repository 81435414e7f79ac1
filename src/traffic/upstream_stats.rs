//! What went to the vendor and came back, in numbers: for the status page and for health.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use crate::wire::{Answer, Error};

/// So many failures in a row are the vendor's state, and no chance.
const FAILURES: u64 = 3;

/// The traffic since the start.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    requests: AtomicU64,
    failed: AtomicU64,
    /// Failures since the latest answer that was none.
    failures_in_a_row: AtomicU64,
    latest_answer: Mutex<Option<Timestamp>>,
}

impl UpstreamStats {
    /// Requests sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Those of them that failed by the vendor's doing: no answer, a broken one, 429 or 5xx.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether the vendor answers as it should, as far as is known.
    pub fn is_well(&self) -> bool {
        self.failures_in_a_row.load(Ordering::Relaxed) < FAILURES
    }

    /// When the latest success was read.
    pub fn latest_answer(&self) -> Option<Timestamp> {
        *self.latest()
    }

    /// A request that is sent again at once: it is none of the failures.
    pub(super) fn count_resent(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count<T>(&self, outcome: &Result<Answer<T>, Error>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Err(error) if error.kind.is_transient() => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => self.failures_in_a_row.store(0, Ordering::Relaxed),
            Ok(answer) => {
                self.failures_in_a_row.store(0, Ordering::Relaxed);
                *self.latest() = Some(answer.observed_at);
            }
        }
    }

    fn latest(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.latest_answer.lock()
    }
}
