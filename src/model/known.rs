//! What a watcher knows of a session from its messages, some of which another server may have sent.

use jiff::Timestamp;

use super::{digest::Digest, transition::Progress};

/// What a watcher knows of a session. A resume token holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The content of the session.
    pub digest: Digest,
    /// The status, and how far the session had come.
    pub progress: Progress,
    /// The time of the answer in the watcher's latest message.
    pub observed_at: Timestamp,
    /// When the end of the session was first seen, by this watch or one that it resumes.
    pub over_since: Option<Timestamp>,
}
