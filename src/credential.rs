//! Who asks the vendor, and by what right.

pub mod token;

use std::{fmt, sync::Arc};

use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};

/// What identifies a credential, or a caller, without being it: a hash. Everything that is shared
/// between calls is keyed by the credential's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId([u8; 16]);

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialId")
    }
}

/// The right by which the vendor is asked. `Debug` prints nothing of it.
#[derive(Clone)]
pub enum Credential {
    /// The caller's own access token, as the value of the `authorization` header.
    Caller(CredentialId, Arc<SecretString>),
    /// The service's credential, which the client keeps fresh; and who calls by it, which decides
    /// nothing but whose turn it is.
    Service(CredentialId),
}

/// The call has no `authorization` that could go to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no credential in one of the vendor's forms: `Bearer <token>`, `OAuth oauth_token=<token>`"
)]
pub struct NoCredential;

impl Credential {
    /// The credential of a caller who sent this `authorization` metadata: `Bearer <token>`, or the
    /// older `OAuth oauth_token=<token>`. The scheme's case does not matter (RFC 9110 §11.1).
    pub fn from_authorization(value: &str) -> Result<Self, NoCredential> {
        let (scheme, rest) = value.trim().split_once(' ').ok_or(NoCredential)?;
        let rest = rest.trim();
        let header = if scheme.eq_ignore_ascii_case("bearer") {
            token(rest).map(|token| ["Bearer ", token].concat())
        } else if scheme.eq_ignore_ascii_case("oauth") {
            let rest = rest.strip_prefix("oauth_token=").ok_or(NoCredential)?;
            token(rest.trim_matches('"')).map(|token| ["OAuth oauth_token=", token].concat())
        } else {
            None
        };
        // Made to measure, so that becoming a secret leaves no copy behind.
        let header = header.ok_or(NoCredential)?;
        Ok(Self::Caller(CredentialId::of(header.as_bytes()), Arc::new(SecretString::from(header))))
    }

    /// The service's credential for callers who are not told apart.
    pub const SERVICE: Self = Credential::Service(CredentialId::SERVICE);

    /// What identifies it.
    pub fn id(&self) -> CredentialId {
        match self {
            Credential::Caller(id, _) => *id,
            Credential::Service(_) => CredentialId::SERVICE,
        }
    }

    /// What tells apart those who call by it: they take turns when the quota is scarce.
    pub fn caller(&self) -> CredentialId {
        match self {
            Credential::Caller(id, _) | Credential::Service(id) => *id,
        }
    }

    /// The same, unless callers are not told apart.
    pub fn known_caller(&self) -> Option<CredentialId> {
        Some(self.caller()).filter(|caller| *caller != CredentialId::SERVICE)
    }

    /// The value of the `authorization` header, if it is the caller's own.
    pub fn authorization(&self) -> Option<&str> {
        match self {
            Credential::Caller(_, header) => Some(header.expose_secret()),
            Credential::Service(_) => None,
        }
    }
}

impl CredentialId {
    const SERVICE: Self = Self([0; 16]);

    /// What identifies somebody who is known by these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let digest = digest(&SHA256, bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_ref()[..16]);
        Self(id)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Caller(..) => f.write_str("Credential::Caller"),
            Credential::Service(_) => f.write_str("Credential::Service"),
        }
    }
}

/// `text`, if it can be a token: visible ASCII without spaces, commas or quotes (RFC 6750 §2.1,
/// generously).
fn token(text: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b';');
    (!text.is_empty() && text.bytes().all(is_plain)).then_some(text)
}
