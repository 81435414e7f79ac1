//! The response of the token endpoint: an access token, or why there is none.

use std::{io, time::Duration};

use http::{HeaderValue, StatusCode};
use secrecy::{SecretString, zeroize::Zeroizing};
use tokio::time::Instant;

use crate::wire::{
    ConnectionFailure,
    json::{Object, body_text},
};

/// The lifetime of an access token if the response gives no lifetime above zero. The value is from
/// the vendor's documentation.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(1);

/// The longest lifetime. A longer one is shortened to this.
const MAX_LIFETIME: Duration = Duration::from_hours(24 * 30);

/// The error codes after which only a new secret helps (RFC 6749 §5.2 and §4.1.2.1).
const REFUSALS: [&str; 7] = [
    "invalid_grant",
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "access_denied",
];

/// A new access token.
#[derive(Debug)]
pub(crate) struct AccessToken {
    pub(crate) header: HeaderValue,
    pub(crate) issued_at: Instant,
    pub(crate) lifetime: Duration,
}

/// Why a refresh gave no access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshError {
    pub(crate) cause: Cause,
    /// When to try again, if the endpoint said so.
    pub(crate) retry_after: Option<Duration>,
}

/// Why a refresh gave no access token. Holds nothing that the endpoint sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// It refused, with this error code.
    #[error("the token endpoint refused: {0}")]
    Refused(&'static str),
    /// A file of a secret cannot be read.
    #[error("a secret file cannot be read: {0}")]
    Secret(io::ErrorKind),
    /// It could not be reached.
    #[error("no connection to the token endpoint: {}", .0.name())]
    Connect(ConnectionFailure),
    /// It did not answer in time.
    #[error("the token endpoint did not answer in time")]
    Timeout,
    /// It answered with this HTTP status.
    #[error("the token endpoint answered with status {0}")]
    Status(u16),
    /// It says that it is not available.
    #[error("the token endpoint is not available for now")]
    Unavailable,
    /// Its answer could not be read.
    #[error("the token endpoint's answer could not be read")]
    Malformed,
    /// The program failed.
    #[error("a defect of this program")]
    Panic,
}

impl Cause {
    /// Whether only a new secret helps.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Cause::Refused(_) | Cause::Secret(_))
    }
}

impl From<Cause> for RefreshError {
    fn from(cause: Cause) -> Self {
        Self { cause, retry_after: None }
    }
}

/// Reads the access token of a response, and the refresh token that may come with it. Ignores
/// `token_type`, which may be missing: there is only one way to use a token.
pub(crate) fn read(
    status: StatusCode,
    body: &[u8],
    issued_at: Instant,
) -> Result<(AccessToken, Option<SecretString>), Cause> {
    let mut object = body_text(body).and_then(Object::parse).ok();
    let mut text = |name| {
        let text = Zeroizing::new(object.as_mut()?.text(name)?);
        let text = Zeroizing::new(text.trim().to_owned());
        (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
    };
    if status.is_success()
        && let Some(token) = text("access_token")
    {
        let value = Zeroizing::new(format!("Bearer {}", *token));
        let mut header = HeaderValue::from_str(&value).map_err(|_| Cause::Malformed)?;
        header.set_sensitive(true);
        let lifetime = text("expires_in").and_then(|seconds| lifetime(&seconds));
        let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME);
        let refresh_token = text("refresh_token").map(|token| token.as_str().into());
        return Ok((AccessToken { header, issued_at, lifetime }, refresh_token));
    }
    Err(cause(status, text("error").as_deref().map(String::as_str)))
}

/// Whole seconds, if there are any.
fn lifetime(seconds: &str) -> Option<Duration> {
    let seconds = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?.as_secs();
    (seconds > 0).then(|| Duration::from_secs(seconds).min(MAX_LIFETIME))
}

/// What a response without a token means. A known error code counts whatever the status is.
fn cause(status: StatusCode, code: Option<&str>) -> Cause {
    if matches!(code, Some("temporarily_unavailable" | "server_error" | "slow_down")) {
        return Cause::Unavailable;
    }
    if let Some(known) = REFUSALS.into_iter().find(|known| code == Some(known)) {
        return Cause::Refused(known);
    }
    match (status.as_u16(), code) {
        (200..=299 | 400 | 401 | 403, Some(_unknown)) => Cause::Refused("another reason"),
        (400 | 401 | 403, None) => Cause::Refused("no reason given"),
        (200..=299, None) => Cause::Malformed,
        (status, _) => Cause::Status(status),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    proptest! {
        #[test]
        fn any_answer_is_a_token_or_a_failure(
            status in 200_u16..600,
            lead in select(vec!["", "{", "{\"access_token\":", "{\"access_token\":\"a\","]),
            middle in select(vec!["", "\"expires_in\":", "\"refresh_token\":", "\"error\":"]),
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            end in select(vec!["", "}"]),
        ) {
            let body = [lead.as_bytes(), middle.as_bytes(), &bytes, end.as_bytes()].concat();
            let status = StatusCode::from_u16(status).unwrap();
            if let Ok((token, _)) = read(status, &body, Instant::now()) {
                prop_assert!(status.is_success() && token.header.is_sensitive());
                prop_assert!((Duration::from_secs(1)..=MAX_LIFETIME).contains(&token.lifetime));
            }
        }

        #[test]
        fn any_life_is_read(seconds in 1..1_000_000_000_u64) {
            for text in [format!("{seconds}"), format!("\"{seconds}\""), format!("{seconds}.5")] {
                let body = format!("{{\"access_token\":\"a\",\"expires_in\":{text}}}");
                let (token, _) = read(StatusCode::OK, body.as_bytes(), Instant::now()).unwrap();
                prop_assert_eq!(token.lifetime, Duration::from_secs(seconds).min(MAX_LIFETIME));
            }
        }
    }
}
