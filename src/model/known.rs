//! What a watcher knows of a session from the messages it got, perhaps from another server.

use jiff::Timestamp;

use super::{digest::Digest, transition::Progress};

/// What a watcher knows of a session. A resume token holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The content of the session.
    pub digest: Digest,
    /// The status, and how far the session had come.
    pub progress: Progress,
    /// When the answer came that the watcher's latest message showed.
    pub observed_at: Timestamp,
    /// When the end of the session was first seen, by this watch or one that it resumes.
    pub over_since: Option<Timestamp>,
}
