//! The vendor's answer to one request, decoded.

use jiff::Timestamp;

/// What the vendor answered, and when.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The decoded body.
    pub content: T,
    /// When the answer arrived, by our clock.
    pub observed_at: Timestamp,
}
