//! Error statuses of the vendor, and which parts of them reach the caller.

use std::{error::Error as _, fmt::Write as _};

use gotoassist_grpc::wire::Kind;

use super::{caller, client, client_with, id, kind, outcome, terms};
use crate::kit::stub::{Step, Stub, answer, ok};

const SESSION: &str = r#"{"sessionId":"250040353","status":"active"}"#;

#[tokio::test]
async fn each_status_has_the_kind_of_the_contract() {
    for (status, expected) in [
        (300, Kind::Redirect),
        (301, Kind::Redirect),
        (304, Kind::Redirect),
        (308, Kind::Redirect),
        (400, Kind::RejectedArgument),
        (401, Kind::CredentialRejected),
        (402, Kind::UnexpectedStatus),
        (403, Kind::PermissionDenied),
        (404, Kind::NotFound),
        (405, Kind::MethodNotSupported),
        (408, Kind::Timeout),
        (409, Kind::Conflict),
        (410, Kind::NotFound),
        (412, Kind::PreconditionFailed),
        (414, Kind::RejectedArgument),
        (415, Kind::RejectedArgument),
        (418, Kind::UnexpectedStatus),
        (422, Kind::RejectedArgument),
        (429, Kind::RateLimited),
        (500, Kind::Internal),
        (501, Kind::MethodNotSupported),
        (502, Kind::Unavailable),
        (503, Kind::Unavailable),
        (504, Kind::Unavailable),
        (505, Kind::Internal),
        (599, Kind::Internal),
        (600, Kind::UnexpectedStatus),
    ] {
        let error = outcome(answer(&format!("{status} x"), &[], "")).await.unwrap_err();
        assert_eq!((error.kind, error.http_status), (expected, Some(status)), "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed_nor_the_credential_sent_elsewhere() {
    let elsewhere = Stub::always(ok(SESSION)).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {}", elsewhere.url());
        let steps = answer(&format!("{status} Elsewhere"), &[&location], "");
        assert_eq!(kind(steps).await, Kind::Redirect, "{status}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn error_codes_are_taken_from_every_shape_of_body_and_nothing_else_is() {
    for (status, header, body, kind, code, request_id) in [
        (
            "403 Forbidden",
            "x-amzn-requestid: 7a-b",
            r#"{"int_err_code":"InvalidToken","msg":"Invalid token passed"}"#,
            Kind::CredentialRejected,
            Some("InvalidToken"),
            Some("7a-b"),
        ),
        (
            "400 Bad",
            "x-other: 1",
            r#"{"errorCode":"BAD_DOMAIN","description":"secret words","incident":"42"}"#,
            Kind::RejectedArgument,
            Some("BAD_DOMAIN"),
            Some("42"),
        ),
        (
            "401 No",
            "x-request-id: r1",
            r#"{"error":"invalid_client","error_description":"secret words"}"#,
            Kind::CredentialRejected,
            Some("invalid_client"),
            Some("r1"),
        ),
        (
            "500 Oh",
            "x-request-id: secret words",
            r#"{"error":"secret words, with spaces"}"#,
            Kind::Internal,
            None,
            None,
        ),
        ("502 Bad", "x-other: 1", "<html>secret words</html>", Kind::Unavailable, None, None),
        (
            "403 No",
            "x-other: 1",
            r#"{"errorCode":"NoSeat"}"#,
            Kind::PermissionDenied,
            Some("NoSeat"),
            None,
        ),
    ] {
        let error = outcome(answer(status, &[header], body)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status}");
        assert_eq!(error.upstream_code.as_deref(), code, "{status}");
        assert_eq!(error.request_id.as_deref(), request_id, "{status}");
        let shown = format!("{error} {error:?} {:?}", error.source().map(ToString::to_string));
        assert!(!shown.contains("secret words"), "{shown}");
    }
}

#[tokio::test]
async fn an_error_of_the_line_does_not_show_the_session() {
    let stub = Stub::always(vec![Step::Close]).await;
    let client = client_with(&stub, |config| config.retries = 0);
    let error = client.session(&caller(), &id("SS-87555-token"), terms()).await.unwrap_err();
    let mut shown = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        write!(shown, " {cause} {cause:?}").unwrap();
        source = cause.source();
    }
    assert!(!shown.contains("87555") && !shown.contains("caller-token"), "{shown}");
}

#[tokio::test]
async fn an_argument_never_becomes_another_path() {
    let stub = Stub::always(ok(SESSION)).await;
    let client = client(&stub);
    for (argument, segment) in [
        ("../systemLinks", "..%2FsystemLinks"),
        ("a/b", "a%2Fb"),
        ("a?b", "a%3Fb"),
        ("a#b", "a%23b"),
        ("%2F", "%252F"),
        ("%2e%2e", "%252e%252e"),
        ("a\\b", "a%5Cb"),
        ("a b;c", "a%20b%3Bc"),
        ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
    ] {
        client.session(&caller(), &id(argument), terms()).await.unwrap();
        let head = stub.heads().pop().unwrap();
        let line = format!("GET /G2A/rest/v1/sessions/{segment} HTTP/1.1\r\n");
        assert!(head.starts_with(&line), "{head}");

        client.system_links(&caller(), &argument.parse().unwrap(), terms()).await.ok();
        let head = stub.heads().pop().unwrap();
        let line = format!("GET /G2A/rest/v1/systemLinks?systemDomain={segment} HTTP/1.1\r\n");
        assert!(head.starts_with(&line), "{head}");
    }
}
