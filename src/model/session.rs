//! A support session and its id.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use super::{
    argument::{InvalidArgument, check_argument},
    status::Status,
    time::UtcTime,
    value::Fields,
};

/// A session id or session token: opaque text of 1 to 512 bytes without control characters.
///
/// `Debug` and `Display` show only the first characters, because a session token lets anybody see
/// the session.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// The whole text, for the request to the vendor.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_argument(text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.chars().count().min(12) / 2;
        write!(f, "{}…", self.0.chars().take(shown).collect::<String>())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// A session as the vendor shows it. The fields have the vendor's names and meanings, which
/// `session.proto` documents.
///
/// `Debug` shows only the status, since most of the rest is personal data.
#[derive(Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in session.proto")]
pub struct Session {
    pub session_id: String,
    pub session_type: String,
    /// The status as the vendor sent it. [`Session::status`] interprets it.
    pub upstream_status: String,
    pub account_key: String,
    pub expert_name: Option<String>,
    pub expert_email: Option<String>,
    pub expert_user_key: Option<String>,
    pub partner_object: Option<String>,
    pub partner_object_url: Option<String>,
    pub started_at: Option<UtcTime>,
    pub customer_joined_at: Option<UtcTime>,
    pub ended_at: Option<UtcTime>,
    pub unattended_machine_name: Option<String>,
    pub unattended_machine_uuid: Option<String>,
    pub account_name: Option<String>,
    pub customer_name: Option<String>,
    pub customer_email: Option<String>,
    pub customer_join_url: Option<String>,
    pub notes: Option<String>,
    pub session_recording_url: Option<String>,
    pub collaborators: Vec<Collaborator>,
    pub additional_fields: Fields,
}

impl Session {
    /// The status, or [`Status::Unknown`] if the vendor does not document it.
    pub fn status(&self) -> Status {
        Status::named(&self.upstream_status)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// A technician in a session besides the one who opened it.
#[derive(Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in session.proto")]
pub struct Collaborator {
    pub name: String,
    pub email: String,
    pub user_key: String,
    pub additional_fields: Fields,
}

impl fmt::Debug for Collaborator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collaborator").finish_non_exhaustive()
    }
}
