//! Whom a poll serves.

use parking_lot::Mutex;

use super::{Cause, Span};

/// Most watches that the span of a poll links to: those that came first.
const LIMIT: usize = 32;

/// The watches that the spans of a poll link to. Only those are kept that a collector hears of.
#[derive(Debug, Default)]
pub struct Links(Mutex<Vec<Cause>>);

impl Links {
    /// A watch joins.
    pub fn add(&self, watch: &Cause) {
        if watch.is_recorded() {
            let mut watches = self.0.lock();
            if watches.len() < LIMIT {
                watches.push(watch.clone());
            }
        }
    }

    /// A watch leaves.
    pub fn remove(&self, watch: &Cause) {
        if watch.is_recorded() {
            self.0.lock().retain(|other| !other.is(watch));
        }
    }

    /// A poll for those who are there; nothing if no collector hears of any.
    pub fn poll(&self) -> Span {
        Span::poll(&self.0.lock())
    }
}
