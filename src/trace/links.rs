//! Links from the span of a poll to the watches that it serves.

use parking_lot::Mutex;

use super::{Cause, Span};

/// The greatest number of links of a poll's span. They are the links of the first watches.
const LIMIT: usize = 32;

/// The watches that a poll's span links to. It keeps only sampled watches.
#[derive(Debug, Default)]
pub struct Links(Mutex<Vec<Cause>>);

impl Links {
    /// Adds a watch.
    pub fn add(&self, watch: &Cause) {
        if watch.is_recorded() {
            let mut watches = self.0.lock();
            if watches.len() < LIMIT {
                watches.push(watch.clone());
            }
        }
    }

    /// Removes a watch.
    pub fn remove(&self, watch: &Cause) {
        if watch.is_recorded() {
            self.0.lock().retain(|other| !other.is(watch));
        }
    }

    /// Starts the span of a poll for these watches. The span is empty if none is sampled.
    pub fn poll(&self) -> Span {
        Span::poll(&self.0.lock())
    }
}
