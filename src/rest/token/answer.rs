//! The token endpoint's answer: a fresh access token, or why there is none.

use std::{io, time::Duration};

use http::HeaderValue;
use oauth2::{
    AccessToken, RefreshToken, RequestTokenError,
    basic::{BasicErrorResponse, BasicErrorResponseType, BasicTokenType},
};
use secrecy::{SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::Instant;

use crate::rest::error::ConnectionFailure;

/// How long an access token lives if the answer does not say (the vendor's documentation).
const USUAL_LIFE: Duration = Duration::from_hours(1);

/// The range of lives believed.
const LIVES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24 * 30));

/// An access token just fetched.
#[derive(Clone)]
pub(super) struct Fresh {
    pub(super) header: HeaderValue,
    pub(super) issued_at: Instant,
    pub(super) life: Duration,
}

/// Why no access token could be fetched. Nothing of what the endpoint sent is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It will not get better by itself.
    #[error("the token endpoint refused: {0}")]
    Refused(&'static str),
    #[error("a secret file cannot be read: {0}")]
    Secret(io::ErrorKind),
    #[error("no connection to the token endpoint: {}", .0.name())]
    Connect(ConnectionFailure),
    #[error("the token endpoint did not answer in time")]
    Timeout,
    #[error("the token endpoint answered with status {0}")]
    Status(u16),
    #[error("the token endpoint is not available for now")]
    Unavailable,
    #[error("the token endpoint's answer could not be read")]
    Malformed,
}

impl Failure {
    /// Whether only a new secret helps.
    pub(super) fn is_final(self) -> bool {
        match self {
            Failure::Refused(_) | Failure::Secret(_) => true,
            Failure::Connect(_)
            | Failure::Timeout
            | Failure::Status(_)
            | Failure::Unavailable
            | Failure::Malformed => false,
        }
    }
}

/// The endpoint's answer, as lenient as its history asks for: `token_type` may be missing and
/// `expires_in` be text.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Granted {
    access_token: AccessToken,
    #[serde(default, deserialize_with = "life")]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<RefreshToken>,
    #[serde(skip, default = "bearer")]
    token_type: BasicTokenType,
}

impl oauth2::TokenResponse for Granted {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<oauth2::Scope>> {
        None
    }
}

impl Granted {
    pub(super) fn fresh(&self, issued_at: Instant) -> Result<Fresh, Failure> {
        let value = Zeroizing::new(format!("Bearer {}", self.access_token.secret()));
        let is_token = !self.access_token.secret().is_empty();
        let mut header = HeaderValue::from_str(&value).map_err(|_| Failure::Malformed)?;
        header.set_sensitive(true);
        let life = self.expires_in.map_or(USUAL_LIFE, Duration::from_secs);
        let fresh = Fresh { header, issued_at, life: life.clamp(LIVES.0, LIVES.1) };
        is_token.then_some(fresh).ok_or(Failure::Malformed)
    }

    pub(super) fn new_refresh_token(&self) -> Option<SecretString> {
        let token = self.refresh_token.as_ref()?.secret().trim();
        let is_plain = !token.is_empty() && !token.chars().any(char::is_control);
        is_plain.then(|| token.into())
    }
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

/// Seconds as a number or as text; anything else is as good as nothing.
fn life<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = match &value {
        serde_json::Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    Ok(whole.parse().ok())
}

/// What an error of the crate's means to us.
pub(super) fn failure(error: RequestTokenError<Failure, BasicErrorResponse>) -> Failure {
    match error {
        RequestTokenError::Request(failure) => failure,
        RequestTokenError::ServerResponse(answer) => match answer.error() {
            BasicErrorResponseType::InvalidGrant => Failure::Refused("invalid_grant"),
            BasicErrorResponseType::InvalidClient => Failure::Refused("invalid_client"),
            BasicErrorResponseType::InvalidRequest => Failure::Refused("invalid_request"),
            BasicErrorResponseType::InvalidScope => Failure::Refused("invalid_scope"),
            BasicErrorResponseType::UnauthorizedClient => Failure::Refused("unauthorized_client"),
            BasicErrorResponseType::UnsupportedGrantType => {
                Failure::Refused("unsupported_grant_type")
            }
            BasicErrorResponseType::Extension(code)
                if code == "temporarily_unavailable" || code == "server_error" =>
            {
                Failure::Unavailable
            }
            BasicErrorResponseType::Extension(_) => Failure::Refused("another reason"),
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Failure::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_answer_is_a_token_or_a_failure(
            lead in prop::sample::select(vec!["", "{", "{\"access_token\":", "{\"access_token\":\"a\","]),
            middle in prop::sample::select(vec!["", "\"expires_in\":", "\"refresh_token\":"]),
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            end in prop::sample::select(vec!["", "}"]),
        ) {
            let text = [lead.as_bytes(), middle.as_bytes(), &bytes, end.as_bytes()].concat();
            if let Ok(granted) = serde_json::from_slice::<Granted>(&text) {
                let _ = granted.new_refresh_token();
                if let Ok(fresh) = granted.fresh(Instant::now()) {
                    prop_assert!(fresh.life >= LIVES.0 && fresh.life <= LIVES.1);
                }
            }
        }

        #[test]
        fn any_life_is_read(seconds in 0..1_000_000_000_u64) {
            for text in [format!("{seconds}"), format!("\"{seconds}\""), format!("{seconds}.5")] {
                let text = format!("{{\"access_token\":\"a\",\"expires_in\":{text}}}");
                let granted: Granted = serde_json::from_str(&text).unwrap();
                let fresh = granted.fresh(Instant::now()).unwrap();
                let wanted = Duration::from_secs(seconds).clamp(LIVES.0, LIVES.1);
                prop_assert_eq!(fresh.life, wanted);
            }
        }
    }
}
