//! Who calls, and whose credential goes to the vendor for them. Knows nothing of `tonic`.

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
    /// Everybody with a credential of the vendor's, which the vendor judges.
    Own,
    /// Those with one of these bearer tokens.
    Tokens(Tokens),
    /// Those with a certificate that bears one of these names.
    Certificates(AllowList),
    /// Whoever can connect: this machine, or a network that lets in nobody else.
    Anyone,
}

/// Why somebody may not call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no credential, or none that could be read: `UNAUTHENTICATED`, `CREDENTIAL_MISSING`.
    #[error("{0}")]
    Missing(&'static str),
    /// It is not one that is known: `UNAUTHENTICATED`, `CALLER_NOT_AUTHENTICATED`.
    #[error("the bearer token is not one that this service knows")]
    Rejected,
    /// They are known but not allowed: `PERMISSION_DENIED`, `CALLER_NOT_ALLOWED`.
    #[error("the client certificate bears no name that may call this service")]
    NotAllowed,
}

impl Callers {
    /// Those of a configuration without problems (see [`CredentialsConfig::problems`]). Reads the
    /// tokens.
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

    /// Takes in what has changed about who may call. Reads a file, so it may block.
    pub fn reload(&self) {
        match self {
            Callers::Tokens(tokens) => tokens.reload(),
            Callers::Own | Callers::Certificates(_) | Callers::Anyone => {}
        }
    }

    /// Whether callers bring credentials of the vendor's.
    pub fn bring_vendor_credentials(&self) -> bool {
        match self {
            Callers::Own => true,
            Callers::Tokens(_) | Callers::Certificates(_) | Callers::Anyone => false,
        }
    }

    /// Whose credential goes to the vendor for who calls with this metadata, over a connection with
    /// these certificates (the peer's own first, already verified against the authority).
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

const VENDOR_FORMS: &str = "the authorization metadata is in none of the vendor's forms: \
    `Bearer <token>`, `OAuth oauth_token=<token>`";

/// The one value of the `authorization` metadata. Two could mean one to us and the other to a
/// proxy that let the call pass.
fn authorization(metadata: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing("the call has no authorization metadata"))?;
    if values.next().is_some() {
        return Err(Refusal::Missing("the call has more than one authorization metadata"));
    }
    value.to_str().map_err(|_| Refusal::Missing("the authorization metadata is not plain text"))
}

/// The token of `Bearer <token>` (RFC 6750 §2.1).
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
    fn a_callers_own_credential_is_taken_in_the_vendors_forms() {
        for value in ["Bearer abc", "bearer abc", "OAuth oauth_token=abc"] {
            let credential = Callers::Own.credential(&metadata(&[value.as_bytes()]), &[]).unwrap();
            assert!(credential.authorization().unwrap().ends_with("abc"));
        }
    }

    #[test]
    fn without_exactly_one_plain_credential_nobody_calls() {
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
    fn callers_with_credentials_of_their_own_are_told_apart() {
        let id = |value| Callers::Own.credential(&metadata(&[value]), &[]).unwrap().id();
        assert_ne!(id(b"Bearer a"), id(b"Bearer b"));
        assert_eq!(id(b"Bearer a"), id(b"bearer  a"));
    }
}
