//! The error table of the API, row by row and over real sockets: what the caller sees of each
//! trouble, for each call, always as a Trailers-Only answer.

use std::time::Duration;

use futures_util::future::join_all;
use gotoassist_grpc::{
    config::simulate::ErrorBody,
    grpc::status,
    proto::{GetSessionRequest, ListSystemLinksRequest, WatchSessionRequest},
    rest,
    simulator::{Fault, RetryAfter, Rule, SessionScript},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Harness, Peer, soon};

const DOMAIN: &str = "remotesupport.gotoassist";
const SESSION: &str = "250040303";

/// Stands in what the vendor says, and must not stand in what we say.
const UPSTREAM_TEXT: &str = "Simulated";

/// Nothing is tried twice or remembered, and no row is slowed down by another.
const FLAGS: [&str; 6] = [
    "--upstream-retries=0",
    "--breaker-failures=0",
    "--finished-cache=0s",
    "--upstream-rps=1000",
    "--upstream-burst=1000",
    "--quota-scope=credential",
];

/// What the vendor does, and what the caller is told.
struct Row {
    fault: Fault,
    code: Code,
    reason: &'static str,
    http_status: Option<u16>,
    remedy: Remedy,
}

/// The details that an error comes with besides `ErrorInfo`.
#[derive(Clone, Copy, PartialEq)]
enum Remedy {
    None,
    /// `RetryInfo`, in seconds.
    Retry(u64),
    /// The same with `QuotaFailure`, and told to gRPC's own retries too.
    PushedBack(u64),
    /// `ResourceInfo`, if the call is about a session.
    Resource,
    Help,
}

fn row(fault: Fault, code: Code, reason: &'static str, http_status: u16, remedy: Remedy) -> Row {
    Row { fault, code, reason, http_status: Some(http_status), remedy }
}

/// A status with a code of the vendor's own, and texts that must not be passed on.
fn vendor(status: u16) -> Fault {
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

/// The rows for what the vendor answers with a status.
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
    // HTTP allows it no body.
    let unchanged = with_body(vendor(304), ErrorBody::Empty);
    rows.push(row(unchanged, Code::Internal, "UPSTREAM_REDIRECT", 304, Remedy::None));
    let limited = with_retry_after(vendor(429), 7);
    let reason = "UPSTREAM_RATE_LIMITED";
    rows.push(row(limited, Code::ResourceExhausted, reason, 429, Remedy::PushedBack(7)));
    let busy = with_retry_after(vendor(503), 7);
    rows.push(row(busy, Code::Unavailable, "UPSTREAM_UNAVAILABLE", 503, Remedy::Retry(7)));
    rows
}

/// The same with the other bodies that errors were seen with.
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

/// The rows for answers that are none.
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
    vec![
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

/// The three calls, on the session or domain that everybody may see.
async fn refusal(peer: &Peer, method: &str, headers: &[(&str, &str)]) -> Status {
    match method {
        "GetSession" => {
            let message = GetSessionRequest { session_id: SESSION.into() };
            peer.refusal(method, &message, headers).await
        }
        "WatchSession" => {
            let message = WatchSessionRequest { session_id: SESSION.into(), ..Default::default() };
            peer.refusal(method, &message, headers).await
        }
        "ListSystemLinks" => {
            let message = ListSystemLinksRequest { system_domain: "one.example.com".into() };
            peer.refusal(method, &message, headers).await
        }
        _ => panic!("{method} is no method"),
    }
}

/// Every row at once, each by a credential of its own, by which the fault finds it.
async fn hold(harness: &Harness, method: &str, rows: Vec<Row>) {
    let peer = harness.peer().await;
    let calls = rows.into_iter().enumerate().map(|(number, row)| {
        let (peer, token) = (&peer, format!("row-{number}"));
        let rule = Rule { credential: Some(token.clone()), ..Rule::from(row.fault.clone()) };
        harness.vendor.add_fault(rule);
        async move {
            let authorization = format!("Bearer {token}");
            let status = refusal(peer, method, &[("authorization", &authorization)]).await;
            row.hold(&status, method != "ListSystemLinks");
            let asked = harness.vendor.counters().of_credential(&token);
            assert_eq!(asked, 1, "one request, nothing followed: {:?}", row.fault);
        }
    });
    join_all(calls).await;
}

impl Row {
    fn hold(&self, status: &Status, is_about_session: bool) {
        let case = format!("{:?}: {status:?}", self.fault);
        assert_eq!(status.code(), self.code, "{case}");
        let info = status.get_details_error_info().expect(&case);
        assert_eq!(info.reason, self.reason, "{case}");
        assert_eq!(info.domain, DOMAIN, "{case}");
        let told = |name: &str| info.metadata.get(name).map(String::as_str);
        let http_status = self.http_status.map(|status| status.to_string());
        assert_eq!(told("http_status"), http_status.as_deref(), "{case}");
        if let Fault::Status { code, body, .. } = &self.fault {
            let has_code = !matches!(body, ErrorBody::Html | ErrorBody::Empty);
            assert_eq!(told("upstream_code"), code.as_deref().filter(|_| has_code), "{case}");
            assert!(told("upstream_request_id").is_some_and(|id| id.len() == 36), "{case}");
        }

        let (retry, is_pushed_back) = match self.remedy {
            Remedy::Retry(seconds) => (Some(seconds), false),
            Remedy::PushedBack(seconds) => (Some(seconds), true),
            Remedy::None | Remedy::Resource | Remedy::Help => (None, false),
        };
        assert_eq!(retry_seconds(status), retry, "{case}");
        let pushback = is_pushed_back.then_some(retry).flatten().map(|delay| delay * 1000);
        assert_eq!(pushback_milliseconds(status), pushback, "{case}");
        let quota = status.get_details_quota_failure();
        assert_eq!(quota.is_some_and(|quota| !quota.violations.is_empty()), is_pushed_back);
        let help = status.get_details_help();
        let is_helped = self.remedy == Remedy::Help;
        assert_eq!(help.is_some_and(|help| help.links[0].url.starts_with("https")), is_helped);
        let name = status.get_details_resource_info().map(|resource| resource.resource_name);
        let is_named = is_about_session && self.remedy == Remedy::Resource;
        assert_eq!(name.as_deref(), is_named.then_some(SESSION), "{case}");
        assert!(status.get_details_bad_request().is_none(), "{case}");
        says_nothing_of_the_vendors(status);
    }
}

fn retry_seconds(status: &Status) -> Option<u64> {
    status.get_details_retry_info()?.retry_delay.map(|delay| delay.as_secs())
}

fn pushback_milliseconds(status: &Status) -> Option<u64> {
    let pushback = status.metadata().get("grpc-retry-pushback-ms")?;
    Some(pushback.to_str().unwrap().parse().unwrap())
}

/// The message is one short sentence of ours, and no text of the vendor's is anywhere.
fn says_nothing_of_the_vendors(status: &Status) {
    let message = status.message();
    assert!(!message.is_empty() && message.len() < 100 && !message.contains('\n'), "{message}");
    let everything = String::from_utf8_lossy(status.details()) + message;
    for text in [UPSTREAM_TEXT, "<html", "proxy", "incident"] {
        assert!(!everything.contains(text), "{text}: {status:?}");
    }
    assert!(!message.contains("VendorCode"), "{message}");
}

#[tokio::test]
async fn get_session_tells_each_trouble_by_its_row() {
    let harness = start(&[]).await;
    hold(&harness, "GetSession", [statuses(), bodies(), broken()].into_iter().flatten().collect())
        .await;
}

#[tokio::test]
async fn watch_session_tells_each_trouble_before_its_headers() {
    let harness = start(&[]).await;
    hold(
        &harness,
        "WatchSession",
        [statuses(), bodies(), broken()].into_iter().flatten().collect(),
    )
    .await;
}

#[tokio::test]
async fn list_system_links_tells_each_trouble_by_its_row() {
    let harness = start(&[]).await;
    let rows = [statuses(), bodies(), broken()].into_iter().flatten();
    // These two lengthen an object, and links are an array.
    let is_for_sessions =
        |row: &Row| matches!(row.fault, Fault::Oversized { .. } | Fault::GzipBomb { .. });
    hold(&harness, "ListSystemLinks", rows.filter(|row| !is_for_sessions(row)).collect()).await;
}

#[tokio::test]
async fn a_retry_after_date_is_told_as_a_delay() {
    let harness = start(&[]).await;
    let mut fault = vendor(429);
    if let Fault::Status { retry_after_date, .. } = &mut fault {
        *retry_after_date = Some(60);
    }
    harness.vendor.add_fault(fault);
    let status = get(&harness, &[("authorization", "Bearer t")]).await;
    // HTTP dates are whole seconds.
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((50..=60).contains(&delay.as_secs()), "{delay:?}");
    let pushback = pushback_milliseconds(&status).unwrap();
    assert_eq!(u128::from(pushback), delay.as_micros().div_ceil(1000));
}

#[tokio::test]
async fn a_vendor_that_does_not_answer_is_a_timeout() {
    let harness = start(&["--upstream-timeout=300ms"]).await;
    for fault in [Fault::Hang, Fault::Trickle { seconds: 0.2 }] {
        for method in ["GetSession", "WatchSession", "ListSystemLinks"] {
            let number = harness.vendor.add_fault(fault.clone());
            let peer = harness.peer().await;
            let status = refusal(&peer, method, &[("authorization", "Bearer t")]).await;
            let (code, reason) = (Code::Unavailable, "UPSTREAM_TIMEOUT");
            let remedy = Remedy::Retry(1);
            let row = Row { fault: fault.clone(), code, reason, http_status: None, remedy };
            row.hold(&status, false);
            harness.vendor.delete_fault(number);
        }
    }
}

#[tokio::test]
async fn no_connection_is_told_apart() {
    let mut refused = start(&[]).await;
    refused.stop_vendor().await;
    let unknown = start(&["--upstream-url=http://vendor.invalid"]).await;
    // The simulator speaks no TLS.
    let plain = start(&[]).await;
    let authority = tempfile::NamedTempFile::new().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    std::fs::write(authority.path(), pair.cert.pem()).unwrap();
    let url = format!("--upstream-url=https://{}", plain.vendor_address);
    let trust = format!("--upstream-ca-file={}", authority.path().display());
    let without_tls = start(&[&url, &trust]).await;
    for harness in [refused, unknown, without_tls] {
        let peer = harness.peer().await;
        for method in ["GetSession", "WatchSession", "ListSystemLinks"] {
            let status = refusal(&peer, method, &[("authorization", "Bearer t")]).await;
            let row = Row {
                fault: Fault::Right,
                code: Code::Unavailable,
                reason: "UPSTREAM_CONNECT_FAILED",
                http_status: None,
                remedy: Remedy::Retry(1),
            };
            row.hold(&status, false);
        }
    }
}

#[tokio::test]
async fn when_the_callers_time_is_over_that_is_what_it_is_told() {
    let harness = start(&[]).await;
    harness.vendor.add_fault(Fault::Hang);
    let peer = harness.peer().await;
    let headers = [("authorization", "Bearer t"), ("grpc-timeout", "300m")];
    for (number, method) in ["GetSession", "WatchSession", "ListSystemLinks"].iter().enumerate() {
        let status = refusal(&peer, method, &headers).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{method}");
        let info = status.get_details_error_info().unwrap();
        // The deadline of the call and that of the request upstream are one.
        assert!(matches!(&*info.reason, "DEADLINE_EXCEEDED" | "UPSTREAM_TIMEOUT"), "{info:?}");
        assert_eq!(info.domain, DOMAIN);
        let cancelled = u64::try_from(number).unwrap() + 1;
        soon(harness.vendor.until(|counters| counters.cancelled == cancelled)).await;
    }
}

#[tokio::test]
async fn without_a_credential_nothing_is_sent() {
    let harness = start(&[]).await;
    let peer = harness.peer().await;
    for method in ["GetSession", "WatchSession", "ListSystemLinks"] {
        for headers in [&[][..], &[("authorization", "")], &[("authorization", "Bearer ")]] {
            let status = refusal(&peer, method, headers).await;
            assert_eq!(status.code(), Code::Unauthenticated, "{method} {headers:?}");
            let info = status.get_details_error_info().unwrap();
            assert_eq!((&*info.reason, &*info.domain), ("CREDENTIAL_MISSING", DOMAIN));
            assert!(!status.get_details_help().unwrap().links.is_empty());
        }
    }
    assert_eq!(harness.vendor.counters().requests, 0);
}

/// The simulator's own refusals, which no rule plays.
#[tokio::test]
async fn bad_tokens_missing_seats_and_sessions_of_others_are_told() {
    let harness = start(&[]).await;
    let script = SessionScript::resting(SESSION, "active").visible_to(&["owner"]);
    harness.vendor.put_session(script).unwrap();
    for (token, code, reason) in [
        ("bad-token", Code::Unauthenticated, "CREDENTIAL_REJECTED"),
        ("no-seat-token", Code::Unauthenticated, "CREDENTIAL_REJECTED"),
        ("stranger", Code::NotFound, "SESSION_NOT_FOUND"),
    ] {
        let authorization = format!("Bearer {token}");
        let status = get(&harness, &[("authorization", &authorization)]).await;
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), &*info.reason), (code, reason), "{token}");
        says_nothing_of_the_vendors(&status);
    }
}

#[tokio::test]
async fn our_own_limits_push_back() {
    let harness = Harness::with(&["--max-watches=0"]).await;
    let peer = harness.peer().await;
    let status = refusal(&peer, "WatchSession", &[("authorization", "Bearer t")]).await;
    pushes_back(&status, "OVERLOADED");
    assert_eq!(harness.vendor.counters().requests, 0);

    let slow = ["--upstream-rps=0.001", "--upstream-burst=1", "--finished-cache=0s"];
    let harness = Harness::with(&slow).await;
    harness.vendor.add_fault(Rule::times(1, Fault::status(404)));
    get(&harness, &[("authorization", "Bearer t")]).await;
    let peer = harness.peer().await;
    for method in ["GetSession", "WatchSession", "ListSystemLinks"] {
        let headers = [("authorization", "Bearer t"), ("grpc-timeout", "5S")];
        pushes_back(&refusal(&peer, method, &headers).await, "QUOTA_EXHAUSTED");
    }
    assert_eq!(harness.vendor.counters().requests, 1);
}

fn pushes_back(status: &Status, reason: &str) {
    let info = status.get_details_error_info().unwrap();
    assert_eq!((status.code(), &*info.reason), (Code::ResourceExhausted, reason));
    assert_eq!(info.domain, DOMAIN);
    assert!(!status.get_details_quota_failure().unwrap().violations.is_empty());
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(delay > Duration::ZERO);
    let pushback = u128::from(pushback_milliseconds(status).unwrap());
    assert_eq!(pushback, delay.as_micros().div_ceil(1000));
}

/// A service credential that was refreshed and refused again.
#[test]
fn a_service_without_a_seat_is_denied_and_helped() {
    let mut error = rest::Error::new(rest::Kind::NoSeat);
    error.http_status = Some(401);
    let status = status::of(&error);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((status.code(), &*info.reason), (Code::PermissionDenied, "NO_REMOTE_SUPPORT_SEAT"));
    assert_eq!(info.metadata["http_status"], "401");
    assert!(status.get_details_help().is_some());
}

async fn start(more: &[&str]) -> Harness {
    Harness::with(&[&FLAGS, more].concat()).await
}

async fn get(harness: &Harness, headers: &[(&str, &str)]) -> Status {
    refusal(&harness.peer().await, "GetSession", headers).await
}
