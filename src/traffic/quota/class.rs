//! The class of a request, which decides whose turn it is.

use tokio::time::Instant;

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// A call that somebody waits for.
    Unary,
    /// A poll for a watch.
    Watch(Urgency),
}

impl Class {
    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Unary => "unary",
            Class::Watch(_) => "watch",
        }
    }
}

/// How much a poll would learn. It decides which session is asked for first while quota is scarce.
#[derive(Clone, Copy, Debug)]
pub struct Urgency {
    /// When the session was asked for last.
    pub since: Instant,
    /// How often it is worth asking for the session, relative to others.
    pub weight: f64,
}
