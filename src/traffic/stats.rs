//! Numbers about the requests to the vendor: those of one call, and those of the process.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::wire::{Answer, Error};

/// After so many failures in a row the vendor does not answer as it should.
const FAILURES: u64 = 3;

/// Counts the requests of one call, for its line in the log. All clones are the same counter.
#[derive(Clone, Debug, Default)]
pub struct CallStats(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    attempts: AtomicU32,
    /// The HTTP status of the latest answer; 0 before the first.
    status: AtomicU16,
}

impl CallStats {
    /// The number of requests that the call has made. `None` if it shared those of another call.
    pub fn attempts(&self) -> Option<u32> {
        Some(self.0.attempts.load(Relaxed)).filter(|attempts| *attempts > 0)
    }

    /// The HTTP status of the latest answer, if there was one.
    pub fn upstream_status(&self) -> Option<u16> {
        Some(self.0.status.load(Relaxed)).filter(|status| *status > 0)
    }

    /// Counts one more request. Returns how many there were before.
    pub(super) fn begin(&self) -> u32 {
        self.0.attempts.fetch_add(1, Relaxed)
    }

    pub(super) fn answered(&self, status: u16) {
        self.0.status.store(status, Relaxed);
    }
}

/// The requests since the start of the process, for the status page and for health.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    requests: AtomicU64,
    failed: AtomicU64,
    failures_in_a_row: AtomicU64,
    latest_answer: Mutex<Option<Timestamp>>,
}

impl UpstreamStats {
    /// The requests sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Those without an answer, or with a broken one, 429 or 5xx.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Whether the vendor answers as it should, as far as is known.
    pub fn is_well(&self) -> bool {
        self.failures_in_a_row.load(Relaxed) < FAILURES
    }

    /// When the latest success was read.
    pub fn latest_answer(&self) -> Option<Timestamp> {
        *self.latest_answer.lock()
    }

    /// Counts a request that is sent again at once, which is no failure.
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
