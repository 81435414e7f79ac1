//! Whose turn it is: the class of a request.

use tokio::time::Instant;

/// For what a request is made.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// A call that somebody waits for.
    Unary,
    /// A poll of a watch.
    Watch(Urgency),
}

/// How much a poll would teach; decides who is asked first while quota is scarce.
#[derive(Clone, Copy, Debug)]
pub struct Urgency {
    /// When the session was asked for last.
    pub since: Instant,
    /// How often it is worth asking for the session, relative to others.
    pub weight: f64,
}
