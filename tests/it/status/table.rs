//! The rows of the error table.

use gotoassist_grpc::{
    config::simulate::ErrorBody,
    simulator::{Fault, RetryAfter},
};
use tonic::Code;

use super::row::{Remedy, Row, UPSTREAM_TEXT};

/// Every row.
pub fn whole() -> Vec<Row> {
    [statuses(), bodies(), broken()].into_iter().flatten().collect()
}

fn row(fault: Fault, code: Code, reason: &'static str, http_status: u16, remedy: Remedy) -> Row {
    Row { fault, code, reason, http_status: Some(http_status), remedy }
}

/// A status with the vendor's own code, and texts that must not reach the caller.
pub fn vendor(status: u16) -> Fault {
    Fault::Status {
        status,
        body: ErrorBody::Product,
        code: Some("VendorCode".into()),
        reason: Some(format!("{UPSTREAM_TEXT} reason phrase")),
        retry_after: None,
        retry_after_date: None,
    }
}

fn with_body(mut fault: Fault, form: ErrorBody) -> Fault {
    if let Fault::Status { body, .. } = &mut fault {
        *body = form;
    }
    fault
}

fn with_retry_after(mut fault: Fault, seconds: u64) -> Fault {
    if let Fault::Status { retry_after, .. } = &mut fault {
        *retry_after = Some(RetryAfter::Seconds(seconds));
    }
    fault
}

/// The rows for error statuses of the vendor.
fn statuses() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |statuses: &[u16], code, reason, remedy| {
        rows.extend(
            statuses.iter().map(|&status| row(vendor(status), code, reason, status, remedy)),
        );
    };
    add(&[400, 414, 415, 422], Code::InvalidArgument, "UPSTREAM_REJECTED_ARGUMENT", Remedy::None);
    add(&[401], Code::Unauthenticated, "CREDENTIAL_REJECTED", Remedy::Help);
    add(&[403], Code::PermissionDenied, "UPSTREAM_PERMISSION_DENIED", Remedy::None);
    add(&[404, 410], Code::NotFound, "SESSION_NOT_FOUND", Remedy::Resource);
    add(&[405, 501], Code::Unimplemented, "UPSTREAM_METHOD_NOT_SUPPORTED", Remedy::None);
    add(&[408], Code::Unavailable, "UPSTREAM_TIMEOUT", Remedy::Retry(1));
    add(&[409], Code::Aborted, "UPSTREAM_CONFLICT", Remedy::None);
    add(&[412], Code::FailedPrecondition, "UPSTREAM_PRECONDITION_FAILED", Remedy::None);
    add(&[429], Code::ResourceExhausted, "UPSTREAM_RATE_LIMITED", Remedy::PushedBack(1));
    add(&[500, 505, 507, 599], Code::Internal, "UPSTREAM_INTERNAL", Remedy::None);
    add(&[502, 503, 504], Code::Unavailable, "UPSTREAM_UNAVAILABLE", Remedy::Retry(1));
    add(&[300, 301, 302, 307, 308], Code::Internal, "UPSTREAM_REDIRECT", Remedy::None);
    add(&[402, 418, 451, 600], Code::Unknown, "UPSTREAM_UNEXPECTED_STATUS", Remedy::None);
    // In HTTP a 304 has no body.
    let unchanged = with_body(vendor(304), ErrorBody::Empty);
    rows.push(row(unchanged, Code::Internal, "UPSTREAM_REDIRECT", 304, Remedy::None));
    let limited = with_retry_after(vendor(429), 7);
    let reason = "UPSTREAM_RATE_LIMITED";
    rows.push(row(limited, Code::ResourceExhausted, reason, 429, Remedy::PushedBack(7)));
    let busy = with_retry_after(vendor(503), 7);
    rows.push(row(busy, Code::Unavailable, "UPSTREAM_UNAVAILABLE", 503, Remedy::Retry(7)));
    rows
}

/// The same rows with other known forms of error bodies.
fn bodies() -> Vec<Row> {
    let invalid_token = Fault::Status {
        status: 403,
        body: ErrorBody::Gateway,
        code: Some("InvalidToken".into()),
        reason: None,
        retry_after: None,
        retry_after_date: None,
    };
    let mut rows =
        vec![row(invalid_token, Code::Unauthenticated, "CREDENTIAL_REJECTED", 403, Remedy::Help)];
    for form in [ErrorBody::Gateway, ErrorBody::Route, ErrorBody::Html, ErrorBody::Empty] {
        let fault = |status| with_body(vendor(status), form);
        let denied = "UPSTREAM_PERMISSION_DENIED";
        rows.push(row(fault(403), Code::PermissionDenied, denied, 403, Remedy::None));
        rows.push(row(fault(404), Code::NotFound, "SESSION_NOT_FOUND", 404, Remedy::Resource));
        rows.push(row(fault(500), Code::Internal, "UPSTREAM_INTERNAL", 500, Remedy::None));
    }
    rows
}

/// The rows for failures without a valid answer.
fn broken() -> Vec<Row> {
    let malformed = |fault, http_status| {
        let (code, reason) = (Code::Internal, "UPSTREAM_MALFORMED_RESPONSE");
        Row { fault, code, reason, http_status, remedy: Remedy::None }
    };
    let unavailable = |fault, http_status| {
        let (code, reason) = (Code::Unavailable, "UPSTREAM_UNAVAILABLE");
        Row { fault, code, reason, http_status, remedy: Remedy::Retry(1) }
    };
    let text = |text: &str| Fault::Body { text: text.into(), content_type: "text/plain".into() };
    let error_object = |code: &str, form| Fault::ErrorObject { body: form, code: code.to_owned() };
    let named = |code: &str, form, row: (Code, &'static str), remedy| Row {
        fault: error_object(code, form),
        code: row.0,
        reason: row.1,
        http_status: Some(200),
        remedy,
    };
    let (gateway, route, product) = (ErrorBody::Gateway, ErrorBody::Route, ErrorBody::Product);
    let rejected = (Code::Unauthenticated, "CREDENTIAL_REJECTED");
    let denied = (Code::PermissionDenied, "UPSTREAM_PERMISSION_DENIED");
    vec![
        malformed(Fault::Maintenance { message: "Simulated maintenance".into() }, Some(200)),
        malformed(Fault::EmptyObject, Some(200)),
        malformed(Fault::Null, Some(200)),
        malformed(text(r#"{"status":"error","message":"Simulated"}"#), Some(200)),
        malformed(text(r#"{"status":503,"error":"Simulated error"}"#), Some(200)),
        malformed(error_object("E77", product), Some(200)),
        named("InvalidToken", gateway, rejected, Remedy::Help),
        named("AccessDenied", route, denied, Remedy::None),
        malformed(Fault::Html, Some(200)),
        malformed(Fault::EmptyBody, Some(200)),
        malformed(Fault::NoContent, Some(204)),
        malformed(Fault::BadJson, Some(200)),
        malformed(text("\"Simulated text\""), Some(200)),
        malformed(text("17"), Some(200)),
        malformed(text("Simulated, no JSON"), Some(200)),
        malformed(Fault::Oversized { bytes: (1 << 20) + 1 }, Some(200)),
        malformed(Fault::GzipBomb { bytes: 4 << 20 }, Some(200)),
        malformed(Fault::Garbage, None),
        malformed(Fault::EndlessHeaders, None),
        unavailable(Fault::Reset, None),
        unavailable(Fault::Close, None),
        unavailable(Fault::HalfBody, Some(200)),
        unavailable(Fault::HalfChunk, Some(200)),
        unavailable(Fault::ResetHalfway, Some(200)),
    ]
}
