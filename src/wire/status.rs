//! The table that maps the vendor's HTTP statuses and error codes to [`Error`].

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use crate::wire::{
    error::{Error, Kind},
    invalid_body::InvalidBody,
    json::{Object, body_text},
};

/// The longest `Retry-After` that is passed on.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The longest error code or request id that is kept, in bytes.
const MAX_CODE_LENGTH: usize = 64;

/// The error of an answer whose status is not a success.
pub(crate) fn error(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Error {
    let mut body = body_text(body).and_then(Object::parse).ok();
    // Nothing else of the body is read.
    let mut code = |names: &[&str]| plain_code(&body.as_mut()?.text_of_any(names)?);
    let upstream_code = code(&["int_err_code", "errorCode", "error"]);
    let incident = code(&["incident"]);
    let header = |name| headers.get(name).and_then(|id| plain_code(id.to_str().ok()?));
    let kind = kind(status, upstream_code.as_deref());
    Error {
        http_status: Some(status.as_u16()),
        upstream_code,
        request_id: header("x-request-id").or_else(|| header("x-amzn-requestid")).or(incident),
        retry_after: retry_after(headers, now),
        ..Error::new(kind)
    }
}

/// The error of a success with an unusable body. If the body is an error object with a known code,
/// the code decides the kind. Otherwise the kind is [`Kind::Malformed`].
pub(crate) fn error_in_success(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    invalid: InvalidBody,
) -> Error {
    let error = error(status, headers, body, now);
    let kind = error.upstream_code.as_deref().and_then(kind_of_code).unwrap_or(Kind::Malformed);
    let retry_after = error.retry_after.filter(|_| kind != Kind::Malformed);
    Error { kind, retry_after, ..error }.caused_by(invalid)
}

/// The kind that an error code means without its HTTP status. This function knows the codes of the
/// vendor and its sibling products, and the reason phrases of HTTP. Letter case and separators do
/// not matter.
fn kind_of_code(code: &str) -> Option<Kind> {
    let letters = code.replace(|letter: char| !letter.is_ascii_alphanumeric(), "");
    Some(match letters.to_ascii_lowercase().as_str() {
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

fn kind(status: StatusCode, code: Option<&str>) -> Kind {
    match status.as_u16() {
        300..=399 => Kind::Redirect,
        400 | 414 | 415 | 422 => Kind::RejectedArgument,
        401 => Kind::CredentialRejected,
        // The vendor's gateway answers a missing or invalid token with this code.
        403 if code == Some("InvalidToken") => Kind::CredentialRejected,
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

/// `Retry-After` in both of its forms, seconds and an HTTP date (RFC 9110 §10.2.3); at most an hour.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let at = httpdate::parse_http_date(value).ok()?;
        // An HTTP date may be two days later than any `Timestamp`.
        let at = Timestamp::try_from(at).unwrap_or(Timestamp::MAX);
        // A date in the past means now.
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Returns `code` if it is short and has only the characters of a code, so that it holds no text.
fn plain_code(code: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let fits = (1..=MAX_CODE_LENGTH).contains(&code.len()) && code.bytes().all(is_plain);
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
    fn an_error_object_in_a_success_has_the_kind_of_its_code() {
        let read = |body: &str| {
            let (headers, now) = (HeaderMap::new(), Timestamp::UNIX_EPOCH);
            let invalid = InvalidBody::ErrorObject;
            error_in_success(StatusCode::OK, &headers, body.as_bytes(), now, invalid)
        };
        let invalid_token = r#"{"int_err_code":"InvalidToken","msg":"Invalid token passed"}"#;
        for (body, kind, code) in [
            (invalid_token, Kind::CredentialRejected, Some("InvalidToken")),
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
        let long = "86400|99999999999999999999999|Mon, 07 Nov 1994 08:49:37 GMT|\
            Fri, 31 Dec 9999 23:59:59 GMT";
        for value in long.split('|') {
            assert_eq!(wait(value), Some(3600), "{value}");
        }
        for value in ["", "soon", "-1", "+5", "1.5", "5s", "1994-11-06T08:49:37Z"] {
            assert_eq!(wait(value), None, "{value}");
        }
    }
}
