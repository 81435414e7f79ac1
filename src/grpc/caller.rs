//! Authenticates callers, and chooses the credential for the vendor. Does not depend on `tonic`.

mod certificates;
mod tokens;

use http::{HeaderMap, header::AUTHORIZATION};
use rustls::pki_types::CertificateDer;

pub use self::{
    certificates::AllowList,
    tokens::{Tokens, TokensError},
};
use crate::{
    config::credentials::{CredentialsConfig, Mode},
    credential::Credential,
};

/// Who may call.
#[derive(Debug)]
pub enum Callers {
    /// Everybody with a credential for the vendor. The vendor checks it.
    Own,
    /// Callers with one of these bearer tokens.
    Tokens(Tokens),
    /// Callers with a certificate that has one of these names.
    Certificates(AllowList),
    /// Everybody who can connect, such as processes of this machine or of a closed network.
    Anyone,
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The credential is missing or unreadable: `UNAUTHENTICATED`, `CREDENTIAL_MISSING`.
    #[error("{0}")]
    Missing(&'static str),
    /// The credential is unknown: `UNAUTHENTICATED`, `CALLER_NOT_AUTHENTICATED`.
    #[error("this service does not know the bearer token: ask its operator for one")]
    Rejected,
    /// The caller is known but not allowed: `PERMISSION_DENIED`, `CALLER_NOT_ALLOWED`.
    #[error("no name in the client certificate may call this service: ask its operator")]
    NotAllowed,
}

impl Callers {
    /// Creates the callers of a configuration without problems (see
    /// [`CredentialsConfig::problems`]). Reads the file of tokens.
    pub fn new(config: &CredentialsConfig) -> Result<Self, TokensError> {
        Ok(match (config.mode, &config.client_tokens_file, &config.client_ca) {
            (Mode::Caller, _, _) => Callers::Own,
            (Mode::Service, Some(path), _) => Callers::Tokens(Tokens::open(path)?),
            (Mode::Service, None, Some(_)) => {
                Callers::Certificates(AllowList::new(&config.allow_client))
            }
            (Mode::Service, None, None) => Callers::Anyone,
        })
    }

    /// Reloads the callers' tokens if they have changed. Reads a file, so it may block.
    pub fn reload(&self) {
        match self {
            Callers::Tokens(tokens) => tokens.reload(),
            Callers::Own | Callers::Certificates(_) | Callers::Anyone => {}
        }
    }

    /// Whether callers send their own credentials for the vendor.
    pub fn bring_vendor_credentials(&self) -> bool {
        match self {
            Callers::Own => true,
            Callers::Tokens(_) | Callers::Certificates(_) | Callers::Anyone => false,
        }
    }

    /// Returns the credential to ask the vendor with. `certificates` is the peer's chain, which is
    /// already verified against the authority and begins with the peer's own certificate.
    pub fn credential(
        &self,
        metadata: &HeaderMap,
        certificates: &[CertificateDer<'_>],
    ) -> Result<Credential, Refusal> {
        match self {
            Callers::Own => Credential::from_authorization(authorization(metadata)?)
                .map_err(|_| Refusal::Missing(VENDOR_FORMS)),
            Callers::Tokens(tokens) => {
                tokens.check(bearer(authorization(metadata)?)?).map(Credential::Service)
            }
            Callers::Certificates(allowed) => allowed.check(certificates).map(Credential::Service),
            Callers::Anyone => Ok(Credential::SERVICE),
        }
    }
}

const VENDOR_FORMS: &str = "the authorization metadata has none of GoToAssist's forms: \
    `Bearer <token>`, `OAuth oauth_token=<token>`";

/// Returns the only value of the `authorization` metadata. Two values are refused, because a proxy
/// in front could have checked the other one.
fn authorization(metadata: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing("the call has no authorization metadata"))?;
    if values.next().is_some() {
        return Err(Refusal::Missing("the call has more than one authorization metadata entry"));
    }
    value.to_str().map_err(|_| Refusal::Missing("the authorization metadata is not plain text"))
}

/// Returns the token of `Bearer <token>` (RFC 6750 §2.1).
fn bearer(authorization: &str) -> Result<&str, Refusal> {
    match authorization.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => {
            Err(Refusal::Missing("the authorization metadata is not `Bearer <token>`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn metadata(values: &[&'static [u8]]) -> HeaderMap {
        let mut metadata = HeaderMap::new();
        for value in values {
            metadata.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        metadata
    }

    #[test]
    fn a_callers_own_credential_is_accepted_in_both_forms() {
        for value in ["Bearer abc", "bearer abc", "OAuth oauth_token=abc"] {
            let credential = Callers::Own.credential(&metadata(&[value.as_bytes()]), &[]).unwrap();
            assert!(credential.authorization().unwrap().ends_with("abc"));
        }
    }

    #[test]
    fn a_call_needs_exactly_one_readable_credential() {
        let odd: [&[&'static [u8]]; 8] = [
            &[],
            &[b""],
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Basic YTpi"],
            &[b"Bearer a b"],
            &[b"Bearer \xff"],
            &[b"Bearer abc", b"Bearer abc"],
        ];
        for values in odd {
            let refusal = Callers::Own.credential(&metadata(values), &[]).unwrap_err();
            assert!(matches!(refusal, Refusal::Missing(_)), "{values:?}");
        }
    }

    #[test]
    fn different_credentials_have_different_ids() {
        let id = |value| Callers::Own.credential(&metadata(&[value]), &[]).unwrap().id();
        assert_ne!(id(b"Bearer a"), id(b"Bearer b"));
        assert_eq!(id(b"Bearer a"), id(b"bearer  a"));
    }
}
