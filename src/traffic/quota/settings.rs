//! How much may be asked of the vendor.

pub use crate::config::QuotaScope as Scope;

/// How much may be asked of the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests per second. A window of a second holds at most this number, rounded down. With a
    /// rate below one, a window of `1 / rps` seconds holds one request.
    pub rps: f64,
    /// The size of a burst after a quiet time. Never more than `rps`.
    pub burst: u32,
    /// Whether all credentials share one quota.
    pub scope: Scope,
    /// How many unary calls may wait at once. If the queue is full, the caller with the most
    /// waiting calls loses its latest one.
    pub queue_limit: usize,
}
