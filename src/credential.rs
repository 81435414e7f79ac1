//! The credentials with which the service asks the vendor.

pub mod login;
pub mod token;

use std::{fmt, sync::Arc};

use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};

/// Identifies a credential or a caller by a hash, without revealing it. Everything that calls share
/// is keyed by the id of their credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId([u8; 16]);

impl CredentialId {
    const SERVICE: Self = Self([0; 16]);

    /// The id of the credential or caller with these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let digest = digest(&SHA256, bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_ref()[..16]);
        Self(id)
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialId")
    }
}

/// The credential for one request to the vendor. `Debug` prints nothing of it.
#[derive(Clone)]
pub enum Credential {
    /// The caller's own access token, as the value of the `authorization` header.
    Caller(CredentialId, Arc<SecretString>),
    /// The service's credential, which a [`token::TokenSource`] keeps fresh. The id is the
    /// caller's, and is used to share the quota fairly among callers.
    Service(CredentialId),
}

/// The call has no `authorization` that could go to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no credential in one of the vendor's forms: `Bearer <token>`, `OAuth oauth_token=<token>`"
)]
pub struct NoCredential;

impl Credential {
    /// The service's credential, for callers that cannot be distinguished.
    pub const SERVICE: Self = Credential::Service(CredentialId::SERVICE);

    /// The credential of a caller who sent this `authorization` metadata: `Bearer <token>`, or the
    /// older `OAuth oauth_token=<token>`. The scheme's letter case does not matter (RFC 9110 §11.1).
    pub fn from_authorization(value: &str) -> Result<Self, NoCredential> {
        let (scheme, rest) = value.trim().split_once(' ').ok_or(NoCredential)?;
        let rest = rest.trim();
        let (prefix, token) = if scheme.eq_ignore_ascii_case("bearer") {
            ("Bearer ", rest)
        } else if scheme.eq_ignore_ascii_case("oauth") {
            let token = rest.strip_prefix("oauth_token=").ok_or(NoCredential)?;
            ("OAuth oauth_token=", token.trim_matches('"'))
        } else {
            return Err(NoCredential);
        };
        if !is_token(token) {
            return Err(NoCredential);
        }
        // `concat` allocates the exact length, so that becoming a secret leaves no copy behind.
        let header = [prefix, token].concat();
        Ok(Self::Caller(CredentialId::of(header.as_bytes()), Arc::new(SecretString::from(header))))
    }

    /// Identifies the credential.
    pub fn id(&self) -> CredentialId {
        match self {
            Credential::Caller(id, _) => *id,
            Credential::Service(_) => CredentialId::SERVICE,
        }
    }

    /// Identifies the caller. Callers of one credential take turns when the quota is scarce.
    pub fn caller(&self) -> CredentialId {
        match self {
            Credential::Caller(id, _) | Credential::Service(id) => *id,
        }
    }

    /// Identifies the caller, if callers can be distinguished.
    pub fn known_caller(&self) -> Option<CredentialId> {
        Some(self.caller()).filter(|caller| *caller != CredentialId::SERVICE)
    }

    /// The value of the `authorization` header, if the credential is the caller's own.
    pub fn authorization(&self) -> Option<&str> {
        match self {
            Credential::Caller(_, header) => Some(header.expose_secret()),
            Credential::Service(_) => None,
        }
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

/// Whether `text` can be a token: visible ASCII without commas, quotes and semicolons. That is more
/// than RFC 6750 §2.1 allows.
fn is_token(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b';');
    !text.is_empty() && text.bytes().all(is_plain)
}
