//! Each fault of the wire and of the body, and the kind of error it is.

use gotoassist_grpc::{
    model::Status,
    rest::{Error, Kind},
};

use super::{
    caller, client, client_with, id,
    stub::{Step, Stub, answer, ok},
    terms,
};

const SESSION: &str = r#"{"sessionId":"250040353","status":"active"}"#;

/// What a session call that is tried once makes of an answer.
async fn outcome(steps: Vec<Step>) -> Result<String, Error> {
    let stub = Stub::always(steps).await;
    let client = client_with(&stub, |config| config.retries = 0);
    let answer = client.session(&caller(), &id("1"), terms()).await?;
    Ok(answer.content.session_id.clone())
}

async fn kind(steps: Vec<Step>) -> Kind {
    outcome(steps).await.expect_err("an error").kind
}

#[tokio::test]
async fn a_session_is_read_and_the_request_is_what_the_vendor_documents() {
    let stub = Stub::always(ok(SESSION)).await;
    let answer = client(&stub).session(&caller(), &id("250040353"), terms()).await.unwrap();
    assert_eq!(answer.content.session_id, "250040353");
    assert_eq!(answer.content.status(), Status::Active);
    let head = stub.heads().remove(0);
    assert!(head.starts_with("GET /G2A/rest/v1/sessions/250040353 HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    for line in ["authorization: bearer caller-token", "accept: application/json"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
}

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
