//! An answer of the vendor, read.

use jiff::Timestamp;

/// What the vendor answered, and when the answer came.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// What the answer holds.
    pub content: T,
    /// When it came, by our clock.
    pub observed_at: Timestamp,
}
