//! Statistics of the requests to the vendor, for one call and for the process.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::wire::{Answer, Error};

/// After this many failures in a row the vendor counts as unhealthy.
const FAILURES: u64 = 3;

/// Counts the requests of one call, for its log line. All clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct CallStats(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    attempts: AtomicU32,
    /// The HTTP status of the latest answer. 0 before the first answer.
    status: AtomicU16,
}

impl CallStats {
    /// Returns the number of requests that the call made. `None` if it only shared requests of
    /// other calls.
    pub fn attempts(&self) -> Option<u32> {
        Some(self.0.attempts.load(Relaxed)).filter(|attempts| *attempts > 0)
    }

    /// Returns the HTTP status of the latest answer, if there was one.
    pub fn upstream_status(&self) -> Option<u16> {
        Some(self.0.status.load(Relaxed)).filter(|status| *status > 0)
    }

    /// Counts one more request. Returns the number of earlier requests.
    pub(super) fn begin(&self) -> u32 {
        self.0.attempts.fetch_add(1, Relaxed)
    }

    pub(super) fn answered(&self, status: u16) {
        self.0.status.store(status, Relaxed);
    }
}

/// Statistics since the start of the process, for the status page and for health.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    requests: AtomicU64,
    failed: AtomicU64,
    failures_in_a_row: AtomicU64,
    latest_answer: Mutex<Option<Timestamp>>,
}

impl UpstreamStats {
    /// Returns the number of requests sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Returns the number of requests that got no answer, a malformed answer, a 429 or a 5xx.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Whether the vendor is healthy, as far as is known.
    pub fn is_well(&self) -> bool {
        self.failures_in_a_row.load(Relaxed) < FAILURES
    }

    /// Returns when the latest successful answer was read.
    pub fn latest_answer(&self) -> Option<Timestamp> {
        *self.latest_answer.lock()
    }

    /// Counts a request that is resent at once. It does not count as a failure.
    pub(super) fn count_resent(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn count<T>(&self, outcome: &Result<Answer<T>, Error>) {
        self.requests.fetch_add(1, Relaxed);
        match outcome {
            Err(error) if error.kind.is_transient() => {
                self.failed.fetch_add(1, Relaxed);
                self.failures_in_a_row.fetch_add(1, Relaxed);
            }
            Err(_) => self.failures_in_a_row.store(0, Relaxed),
            Ok(answer) => {
                self.failures_in_a_row.store(0, Relaxed);
                *self.latest_answer.lock() = Some(answer.observed_at);
            }
        }
    }
}
