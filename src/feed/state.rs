//! The state that the watchers of a session share.

use std::sync::Arc;

use jiff::Timestamp;

use super::revision::Revision;
use crate::{
    model::{SessionId, Status},
    wire::Error,
};

/// The state of a polled session.
#[derive(Debug)]
pub struct State {
    /// The latest revision.
    pub revision: Arc<Revision>,
    /// Why the session is stale, if it is.
    pub trouble: Option<Arc<Error>>,
    /// Why the poll has ended.
    pub end: Option<Arc<Error>>,
    /// Whether the feed is closing. The watchers must then reconnect to another server.
    pub is_closing: bool,
}

/// What the metrics and the status page show about a poll.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The session.
    pub session: SessionId,
    /// Its latest status.
    pub status: Status,
    /// The number of its watchers.
    pub watchers: usize,
    /// When the latest good answer came.
    pub observed_at: Timestamp,
    /// Whether the session is stale.
    pub is_stale: bool,
    /// Whether the vendor's list shows the session, so that a change is polled for at once.
    pub is_listed: bool,
}
