//! What an HTTP status means: the one table from the vendor's refusals to [`Error`].

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use crate::wire::{
    error::{Error, Kind},
    json::{Malformed, Members, text},
};

/// Nobody is told to wait longer than this, whatever the vendor says.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(1);

/// Longest error code or request id that is taken over, in bytes.
const CODE_LIMIT: usize = 64;

/// The error behind an answer that is no success.
pub(crate) fn error(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Error {
    let Codes { error_code, incident } = Codes::of(body);
    let header = |name| headers.get(name).and_then(|id| plain(id.to_str().ok()?));
    let mut error = Error {
        http_status: Some(status.as_u16()),
        request_id: header("x-request-id").or_else(|| header("x-amzn-requestid")).or(incident),
        retry_after: retry_after(headers, now),
        ..Error::new(kind(status, error_code.as_deref()))
    };
    error.upstream_code = error_code;
    error
}

/// The error behind a success whose body is not what was asked for: the one that an error object
/// names, whatever the status says, else [`Kind::Malformed`].
pub(crate) fn error_in_success(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    malformed: Malformed,
) -> Error {
    let error = error(status, headers, body, now);
    let kind = error.upstream_code.as_deref().and_then(kind_named).unwrap_or(Kind::Malformed);
    let retry_after = error.retry_after.filter(|_| kind != Kind::Malformed);
    Error { kind, retry_after, ..error }.caused_by(malformed)
}

/// What an error code means by itself: those of the vendor and its relatives that are known, and
/// the reason phrases of HTTP, in any letters.
fn kind_named(error_code: &str) -> Option<Kind> {
    let letters: String = error_code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    Some(match letters.as_str() {
        "invalidtoken"
        | "unauthorized"
        | "unauthorizedexception"
        | "expiredtoken"
        | "tokenexpired" => Kind::CredentialRejected,
        "forbidden" | "accessdenied" | "permissiondenied" => Kind::PermissionDenied,
        "notfound" | "sessionnotfound" => Kind::NotFound,
        "toomanyrequests" | "ratelimitexceeded" | "ratelimitquota" | "quotaexceeded" => {
            Kind::RateLimited
        }
        "internalservererror" | "internalerror" => Kind::Internal,
        "serviceunavailable" | "badgateway" | "maintenance" => Kind::Unavailable,
        "gatewaytimeout" | "requesttimeout" => Kind::Timeout,
        _ => return None,
    })
}

fn kind(status: StatusCode, error_code: Option<&str>) -> Kind {
    match status.as_u16() {
        300..=399 => Kind::Redirect,
        400 | 414 | 415 | 422 => Kind::RejectedArgument,
        401 => Kind::CredentialRejected,
        // What the vendor's gateway says to a missing or bad token.
        403 if error_code == Some("InvalidToken") => Kind::CredentialRejected,
        403 => Kind::PermissionDenied,
        404 | 410 => Kind::NotFound,
        405 | 501 => Kind::MethodNotSupported,
        408 => Kind::Timeout,
        409 => Kind::Conflict,
        412 => Kind::PreconditionFailed,
        429 => Kind::RateLimited,
        502..=504 => Kind::Unavailable,
        500..=599 => Kind::Internal,
        _ => Kind::UnexpectedStatus,
    }
}

/// `Retry-After` in both of its forms, seconds and HTTP-date (RFC 9110 §10.2.3), an hour at most.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().map_or(RETRY_AFTER_LIMIT, Duration::from_secs)
    } else {
        let at = httpdate::parse_http_date(value).ok()?;
        // HTTP has two days more than a `Timestamp`.
        let at = Timestamp::try_from(at).unwrap_or(Timestamp::MAX);
        // A date that has passed means now.
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

#[derive(Default)]
struct Codes {
    error_code: Option<String>,
    incident: Option<String>,
}

impl Codes {
    /// The codes in an error body of any of the vendor's shapes. Nothing else of it is looked at.
    fn of(body: &[u8]) -> Self {
        let Some(mut members) = text(body).ok().and_then(|json| Members::of(json).ok()) else {
            return Self::default();
        };
        let mut code = |names: &[&str]| plain(&members.text_of_any(names)?);
        Self {
            error_code: code(&["int_err_code", "errorCode", "error"]),
            incident: code(&["incident"]),
        }
    }
}

/// `code`, if nothing but a code can be in it.
fn plain(code: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let fits = (1..=CODE_LIMIT).contains(&code.len()) && code.bytes().all(is_plain);
    fits.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn an_error_object_in_a_success_is_the_error_it_names() {
        let read = |body: &str| {
            let (status, headers) = (StatusCode::OK, HeaderMap::new());
            let now = Timestamp::UNIX_EPOCH;
            error_in_success(status, &headers, body.as_bytes(), now, Malformed::ErrorObject)
        };
        for (body, kind, code) in [
            (
                r#"{"int_err_code":"InvalidToken","msg":"Invalid token passed"}"#,
                Kind::CredentialRejected,
                Some("InvalidToken"),
            ),
            (r#"{"errorCode":"NOT_FOUND","message":"m"}"#, Kind::NotFound, Some("NOT_FOUND")),
            (r#"{"errorCode":"RateLimitExceeded"}"#, Kind::RateLimited, Some("RateLimitExceeded")),
            (r#"{"errorCode":"E77","incident":"i"}"#, Kind::Malformed, Some("E77")),
            (r#"{"message":"Service is under maintenance"}"#, Kind::Malformed, None),
            ("{}", Kind::Malformed, None),
        ] {
            let error = read(body);
            assert_eq!((error.kind, error.upstream_code.as_deref()), (kind, code), "{body}");
            assert_eq!(error.http_status, Some(200));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_in_any_of_its_three_forms() {
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait(" 120 "), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(wait("Sunday, 06-Nov-94 08:49:37 GMT"), Some(37));
        assert_eq!(wait("Sun Nov  6 08:49:37 1994"), Some(37));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "passed");
    }

    #[test]
    fn retry_after_is_an_hour_at_most_and_nothing_if_it_cannot_be_read() {
        for value in [
            "86400",
            "99999999999999999999999",
            "Mon, 07 Nov 1994 08:49:37 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            assert_eq!(wait(value), Some(3600), "{value}");
        }
        for value in ["", "soon", "-1", "+5", "1.5", "5s", "1994-11-06T08:49:37Z"] {
            assert_eq!(wait(value), None, "{value}");
        }
    }
}
