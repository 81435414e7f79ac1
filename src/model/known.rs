//! What a watcher knows of a session: what it was told last, perhaps by another server.

use jiff::Timestamp;

use super::{Digest, Progress};

/// What a watcher knows of a session. A resume token holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The content.
    pub digest: Digest,
    /// The status, and how far the session had come.
    pub progress: Progress,
    /// When the answer came that the watcher was told of.
    pub observed_at: Timestamp,
    /// When the session was first seen over, by the watch or the poll that it followed.
    pub over_since: Option<Timestamp>,
}
