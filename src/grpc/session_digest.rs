//! Short names of sessions for operators. A log line, an error and a row of the status page of the
//! same session have the same name, and none of them has the session's id.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use ring::{
    digest::{SHA256, digest},
    hmac,
    rand::SystemRandom,
};

use crate::model::SessionId;

/// Sets this use of the operator's key apart from its other uses.
const PURPOSE: &[u8] = b"gotoassist-grpc session digest\0";

/// The length of a name in bytes. 40 bits tell the sessions of months apart.
const LENGTH: usize = 5;

/// The key of the names.
#[derive(Clone, Debug)]
pub struct SessionDigests(hmac::Key);

impl SessionDigests {
    /// Uses the operator's key, so that the names are the same on all replicas. Without it, the key
    /// is random. (Session ids are short numbers, so with a known key anybody could find the id of a
    /// name by trying.)
    pub fn new(key: Option<&str>) -> Self {
        let random = || {
            let generated = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
            generated.unwrap_or_else(|_| with_secret(&fastrand::u128(..).to_be_bytes()))
        };
        Self(key.map_or_else(random, |key| with_secret(key.as_bytes())))
    }

    /// The name of a session. A session that is asked for by its token has another name than by its
    /// id.
    pub fn of(&self, session: &SessionId) -> SessionDigest {
        let tag = hmac::sign(&self.0, session.as_str().as_bytes());
        let mut name = [0; LENGTH];
        name.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        SessionDigest(name)
    }
}

fn with_secret(secret: &[u8]) -> hmac::Key {
    let secret = digest(&SHA256, &[PURPOSE, secret].concat());
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref())
}

/// The name of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionDigest([u8; LENGTH]);

impl fmt::Display for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The session that a call is about, for its log line. The handler notes it. All clones share it.
#[derive(Clone, Debug, Default)]
pub struct NotedSession(Arc<OnceLock<SessionDigest>>);

impl NotedSession {
    /// Notes the session.
    pub(super) fn note(&self, session: SessionDigest) {
        // A call is about one session.
        let _ = self.0.set(session);
    }

    /// The session, if the call is about one.
    pub fn get(&self) -> Option<SessionDigest> {
        self.0.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: Option<&str>, session: &str) -> String {
        SessionDigests::new(key).of(&session.parse().unwrap()).to_string()
    }

    #[test]
    fn replicas_with_the_same_key_give_a_session_the_same_name() {
        let one = name(Some("key"), "250040353");
        assert_eq!(one, name(Some("key"), "250040353"));
        assert_eq!(one.len(), 10);
        assert!(one.bytes().all(|digit| digit.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, name(Some("key"), "250040354"));
        assert_ne!(one, name(Some("another key"), "250040353"));
    }

    #[test]
    fn without_a_key_nobody_else_can_compute_a_name() {
        assert_ne!(name(None, "250040353"), name(None, "250040353"));
    }
}
