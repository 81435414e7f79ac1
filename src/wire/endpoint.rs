//! The endpoints of the vendor's API: the path of each, and how its answer is decoded. Start here to
//! add an endpoint.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use strum::IntoStaticStr;

use crate::{
    model::{Session, SessionId, SystemDomain, SystemLink, validator},
    wire::{invalid_body::InvalidBody, session, system_link},
};

/// The endpoints.
#[derive(Clone, Copy, Debug, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Name {
    Session,
    SystemLinks,
}

impl Name {
    /// The name in metrics and logs.
    pub fn text(self) -> &'static str {
        self.into()
    }
}

/// One request to an endpoint.
#[derive(Clone)]
pub(crate) struct Endpoint<T> {
    /// The endpoint, for metrics.
    pub name: Name,
    /// The path with placeholders for the values, for traces.
    pub template: &'static str,
    /// The path and query below the base URL, percent-encoded.
    pub path: String,
    /// Decodes the body of a successful answer.
    pub decode: fn(&[u8]) -> Result<T, InvalidBody>,
}

/// The session with this id or token. Gives the session and the size of its JSON in bytes.
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

/// Percent-encodes everything except the unreserved characters (RFC 3986 §2.3), so that `text` is one
/// path segment or query value and nothing else.
fn encoded(text: &str) -> impl fmt::Display {
    const RESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED)
}
