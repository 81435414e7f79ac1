//! How much may be asked of the vendor.

pub use crate::config::QuotaScope as Scope;

/// How much may be asked of the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests per second. A window of a second holds at most the whole number below. With a rate
    /// under one, there is a single request in each `1 / rps` seconds.
    pub rps: f64,
    /// Requests at once after a quiet time; never more than `rps`.
    pub burst: u32,
    /// Who shares the quota.
    pub scope: Scope,
    /// Unary calls that may wait at once. If the queue is full, the caller with the most waiting
    /// calls loses the latest of them.
    pub queue_limit: usize,
}
