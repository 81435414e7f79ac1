//! The class of a request. The queue orders requests by it.

use tokio::time::Instant;

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// A call that a caller waits for.
    Unary,
    /// A poll for a watch.
    Watch(Urgency),
}

/// How much a poll would learn. While quota is scarce, it decides which session is polled first.
#[derive(Clone, Copy, Debug)]
pub struct Urgency {
    /// When the vendor was last asked for the session.
    pub since: Instant,
    /// How often to poll the session, relative to others.
    pub weight: f64,
}
