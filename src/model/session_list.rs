//! The vendor's list of sessions: the window that it is asked for, and an element of it.

use jiff::Timestamp;

use super::session::Session;

/// The time that a list covers. The vendor does not document with which time of a session it
/// compares the window; it is probably the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListWindow {
    /// The beginning. A fraction of a second is dropped in the request.
    pub from: Timestamp,
    /// The end. A fraction of a second is rounded up in the request.
    pub to: Timestamp,
}

/// A session as the list shows it. The list lacks notes, collaborators, the unattended machine and
/// the name of the account. A session that has not started may have no id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListedSession {
    /// The fields that the list has. The start token is in the additional fields too.
    pub session: Session,
    /// The token by which a session without an id is known, with its digits exactly as sent.
    pub start_token: Option<String>,
}
