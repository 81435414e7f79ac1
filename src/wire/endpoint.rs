//! The endpoints of the vendor's API: the path of each, and how its answer is decoded. Start here to
//! add an endpoint.

use std::fmt;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use strum::{IntoStaticStr, VariantNames};

use crate::{
    model::{ListWindow, Session, SessionId, SystemDomain, SystemLink, validator},
    wire::{invalid_body::InvalidBody, session, system_link},
};

/// The endpoints.
#[derive(Clone, Copy, Debug, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Name {
    Session,
    Sessions,
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
pub(crate) struct Endpoint {
    /// The endpoint, for metrics.
    pub name: Name,
    /// The path with placeholders for the values, for traces.
    pub template: &'static str,
    /// The path and query below the base URL, percent-encoded.
    pub path: String,
}

impl Endpoint {
    /// The name under which the circuit breaker and the retries count failures. Each session and
    /// the links of each domain have their own name. The list has one name for all windows.
    pub fn subject(&self) -> &str {
        match self.name {
            Name::Session | Name::SystemLinks => &self.path,
            Name::Sessions => self.template,
        }
    }
}

/// The session with this id or token. [`decode_session`] decodes it.
pub(crate) fn session(id: &SessionId) -> Endpoint {
    Endpoint {
        name: Name::Session,
        template: "/sessions/{sessionId}",
        path: format!("/sessions/{}", encoded(id.as_str())),
    }
}

/// Decodes a session. Gives the session and the size of its JSON in bytes.
pub(crate) fn decode_session(body: &[u8]) -> Result<(Session, usize), InvalidBody> {
    let session = session::decode(body)?;
    validator::check(None, &session)?;
    Ok((session, body.len()))
}

/// A page of the list of sessions. [`ListReader`](super::session_list::ListReader) decodes it.
///
/// The vendor documents no pages. The name of the parameter `page` is a guess. If the vendor has no
/// pages, it probably ignores the parameter.
pub(crate) fn sessions(window: &ListWindow, page: u32) -> Endpoint {
    let (from, to) = (seconds(window.from, RoundMode::Floor), seconds(window.to, RoundMode::Ceil));
    let page = if page > 1 { format!("&page={page}") } else { String::new() };
    let path = format!("/sessions?sessionType=SCREEN_SHARING&fromTime={from}&toTime={to}{page}");
    Endpoint { name: Name::Sessions, template: "/sessions", path }
}

/// The links registered for one domain. [`decode_system_links`] decodes them.
pub(crate) fn system_links(domain: &SystemDomain) -> Endpoint {
    Endpoint {
        name: Name::SystemLinks,
        template: "/systemLinks",
        path: format!("/systemLinks?systemDomain={}", encoded(domain.as_str())),
    }
}

/// Decodes the links of a domain.
pub(crate) fn decode_system_links(body: &[u8]) -> Result<Vec<SystemLink>, InvalidBody> {
    system_link::decode(body)
}

/// The time in whole seconds, such as `2016-10-31T08:30:00Z`. Known clients of the vendor use no
/// other form.
fn seconds(time: Timestamp, mode: RoundMode) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(mode)).unwrap_or(time)
}

/// Percent-encodes everything except the unreserved characters (RFC 3986 §2.3), so that `text` is one
/// path segment or query value and nothing else.
fn encoded(text: &str) -> impl fmt::Display {
    const RESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED)
}
