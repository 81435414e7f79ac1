//! The endpoints of the vendor's API: the path of each, and how its answer is read. A new endpoint
//! begins here.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{json::Malformed, session, system_link};
use crate::model::{Session, SessionId, SystemDomain, SystemLink, validator};

/// Which endpoint it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name {
    Session,
    SystemLinks,
}

impl Name {
    /// Its name in metrics and log.
    pub fn text(self) -> &'static str {
        match self {
            Name::Session => "session",
            Name::SystemLinks => "system_links",
        }
    }
}

/// One request to an endpoint.
#[derive(Clone)]
pub(crate) struct Endpoint<T> {
    /// Which endpoint it is, for metrics.
    pub name: Name,
    /// The path with names in place of values, for traces.
    pub template: &'static str,
    /// Path and query below the base URL, percent-encoded.
    pub path: String,
    /// Reads the body of a success.
    pub decode: fn(&[u8]) -> Result<T, Malformed>,
}

/// The session with this id or token, and the size of its JSON in bytes.
pub(crate) fn session(id: &SessionId) -> Endpoint<(Session, usize)> {
    Endpoint {
        name: Name::Session,
        template: "/sessions/{sessionId}",
        path: format!("/sessions/{}", encoded(id.as_str())),
        decode: |body| {
            let session = session::decode(body)?;
            validator::check(None, &session)?;
            Ok((session, body.len()))
        },
    }
}

/// The links registered for one domain.
pub(crate) fn system_links(domain: &SystemDomain) -> Endpoint<Vec<SystemLink>> {
    Endpoint {
        name: Name::SystemLinks,
        template: "/systemLinks",
        path: format!("/systemLinks?systemDomain={}", encoded(domain.as_str())),
        decode: system_link::decode,
    }
}

/// Percent-encoded so that it is one path segment or query value and nothing else: all but the
/// unreserved characters (RFC 3986 §2.3).
fn encoded(text: &str) -> impl fmt::Display {
    const RESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED)
}
