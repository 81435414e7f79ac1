//! What the watchers of a session share.

use std::sync::Arc;

use jiff::Timestamp;

use super::revision::Revision;
use crate::{
    model::{SessionId, Status},
    wire::Error,
};

/// What is known of a polled session.
#[derive(Debug)]
pub struct State {
    /// The latest revision.
    pub revision: Arc<Revision>,
    /// Why there is no good answer at present, once that has lasted.
    pub trouble: Option<Arc<Error>>,
    /// Why the poll has ended.
    pub end: Option<Arc<Error>>,
    /// Whether the feed closes, so that the watchers must go to another server.
    pub is_closing: bool,
}

/// What the metrics and the status page show of a poll.
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
    /// Whether the vendor has failed for a while.
    pub is_stale: bool,
}
