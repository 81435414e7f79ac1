//! The token endpoint's answer: a fresh access token, or why there is none.

use std::{io, time::Duration};

use http::{HeaderValue, StatusCode};
use secrecy::{SecretString, zeroize::Zeroizing};
use tokio::time::Instant;

use crate::wire::{
    ConnectionFailure,
    json::{Members, text},
};

/// How long an access token lives if the answer does not say so, or says that it is dead already
/// (the vendor's documentation).
const USUAL_LIFE: Duration = Duration::from_hours(1);

/// The longest life believed.
const LONGEST_LIFE: Duration = Duration::from_hours(24 * 30);

/// Error codes after which only a new secret helps (RFC 6749 §5.2 and §4.1.2.1).
const REFUSALS: [&str; 7] = [
    "invalid_grant",
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "access_denied",
];

/// What a refresh gives.
pub(crate) type Outcome = Result<Fresh, Failure>;

/// An access token just fetched.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) header: HeaderValue,
    pub(crate) issued_at: Instant,
    pub(crate) life: Duration,
}

/// A refresh that gave no access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// When to try again, if the endpoint said so.
    pub(crate) retry_after: Option<Duration>,
}

/// Why no access token could be fetched. Nothing of what the endpoint sent is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cause {
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
    #[error("a defect of this program")]
    Panic,
}

impl Cause {
    /// Whether only a new secret helps.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Cause::Refused(_) | Cause::Secret(_))
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, retry_after: None }
    }
}

/// The access token of an answer, and the refresh token that comes with it. Read as leniently as
/// the vendor's other answers. `token_type` is not looked at: it may be missing, and there is one
/// way only to use a token.
pub(crate) fn read(
    status: StatusCode,
    body: &[u8],
    issued_at: Instant,
) -> Result<(Fresh, Option<SecretString>), Cause> {
    let mut members = text(body).and_then(Members::of).ok();
    let mut member = |name| {
        let value = Zeroizing::new(members.as_mut()?.text(name)?);
        let is_plain = !value.trim().is_empty() && !value.trim().chars().any(char::is_control);
        is_plain.then(|| Zeroizing::new(value.trim().to_owned()))
    };
    if status.is_success()
        && let Some(token) = member("access_token")
    {
        let value = Zeroizing::new(format!("Bearer {}", *token));
        let mut header = HeaderValue::from_str(&value).map_err(|_| Cause::Malformed)?;
        header.set_sensitive(true);
        let life = member("expires_in").and_then(|life| lifetime(&life)).unwrap_or(USUAL_LIFE);
        let refresh_token = member("refresh_token").map(|token| token.as_str().into());
        return Ok((Fresh { header, issued_at, life }, refresh_token));
    }
    Err(cause(status, member("error").as_deref().map(String::as_str)))
}

/// Whole seconds, if there are any.
fn lifetime(seconds: &str) -> Option<Duration> {
    let life = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?.as_secs();
    (life > 0).then(|| Duration::from_secs(life).min(LONGEST_LIFE))
}

/// What an answer without a token means: what its error code says, if that is a known one, whatever
/// the status.
fn cause(status: StatusCode, code: Option<&str>) -> Cause {
    if matches!(code, Some("temporarily_unavailable" | "server_error" | "slow_down")) {
        return Cause::Unavailable;
    }
    if let Some(known) = REFUSALS.into_iter().find(|known| code == Some(known)) {
        return Cause::Refused(known);
    }
    match (status.as_u16(), code) {
        (200..=299 | 400 | 401 | 403, Some(_unknown)) => Cause::Refused("another reason"),
        // Whoever refuses without a word refuses all the same.
        (400 | 401 | 403, None) => Cause::Refused("no reason given"),
        (200..=299, None) => Cause::Malformed,
        (status, _) => Cause::Status(status),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_answer_is_a_token_or_a_failure(
            status in 200_u16..600,
            lead in prop::sample::select(vec!["", "{", "{\"access_token\":", "{\"access_token\":\"a\","]),
            middle in prop::sample::select(vec!["", "\"expires_in\":", "\"refresh_token\":", "\"error\":"]),
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            end in prop::sample::select(vec!["", "}"]),
        ) {
            let body = [lead.as_bytes(), middle.as_bytes(), &bytes, end.as_bytes()].concat();
            let status = StatusCode::from_u16(status).unwrap();
            if let Ok((fresh, _)) = read(status, &body, Instant::now()) {
                prop_assert!(status.is_success() && fresh.header.is_sensitive());
                prop_assert!((Duration::from_secs(1)..=LONGEST_LIFE).contains(&fresh.life));
            }
        }

        #[test]
        fn any_life_is_read(seconds in 1..1_000_000_000_u64) {
            for text in [format!("{seconds}"), format!("\"{seconds}\""), format!("{seconds}.5")] {
                let body = format!("{{\"access_token\":\"a\",\"expires_in\":{text}}}");
                let (fresh, _) = read(StatusCode::OK, body.as_bytes(), Instant::now()).unwrap();
                prop_assert_eq!(fresh.life, Duration::from_secs(seconds).min(LONGEST_LIFE));
            }
        }
    }
}
