//! The error table of the API, over real sockets. Each row has the errors of all calls for one kind
//! of trouble. The answer is always Trailers-Only.

mod row;
mod table;
mod unread;

use std::time::Duration;

use futures_util::future::join_all;
use gotoassist_grpc::{
    grpc::reason::Reason,
    proto::{GetSessionRequest, ListSessionsRequest, ListSystemLinksRequest, WatchSessionRequest},
    simulator::{Fault, Route, Rule, SessionScript},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::kit::{
    certificate::Authority, folder::Folder, harness::Harness, peer::Peer, request::authorized, soon,
};
use row::{Remedy, Row, pushback_milliseconds, says_nothing_of_the_vendors};

const DOMAIN: &str = "remotesupport.gotoassist";
const SESSION: &str = "250040303";

/// Settings without retries and caches, so that no row affects another.
const FLAGS: [&str; 6] = [
    "--upstream-retries=0",
    "--breaker-failures=0",
    "--finished-cache=0s",
    "--upstream-rps=1000",
    "--upstream-burst=1000",
    "--quota-scope=credential",
];

/// The calls.
const METHODS: [&str; 4] = ["GetSession", "ListSessions", "ListSystemLinks", "WatchSession"];

/// Makes a call, about the session or domain that every credential may read.
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
        "ListSessions" => peer.refusal(method, &ListSessionsRequest::default(), headers).await,
        "ListSystemLinks" => {
            let message = ListSystemLinksRequest { system_domain: "one.example.com".into() };
            peer.refusal(method, &message, headers).await
        }
        _ => panic!("{method} is no method"),
    }
}

/// Runs all rows at once. Each row has its own credential, which selects the fault.
async fn hold(harness: &Harness, method: &str, rows: Vec<Row>) {
    let peer = harness.peer().await;
    let calls = rows.into_iter().enumerate().map(|(number, row)| {
        let (peer, token) = (&peer, format!("row-{number}"));
        let rule = Rule { credential: Some(token.clone()), ..Rule::from(row.fault.clone()) };
        harness.vendor.add_fault(rule);
        async move {
            let authorization = format!("Bearer {token}");
            let status = refusal(peer, method, &[("authorization", &authorization)]).await;
            row.hold(&status, method);
            let asked = harness.vendor.counters().of_credential(&token);
            assert_eq!(asked, 1, "one request, nothing followed: {:?}", row.fault);
        }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn get_session_tells_each_trouble_by_its_row() {
    let harness = start(&[]).await;
    hold(&harness, "GetSession", table::whole()).await;
}

#[tokio::test]
async fn watch_session_tells_each_trouble_before_its_headers() {
    let harness = start(&[]).await;
    hold(&harness, "WatchSession", table::whole()).await;
}

#[tokio::test]
async fn list_sessions_tells_each_trouble_by_its_row() {
    let harness = start(&[]).await;
    let rows = table::whole().into_iter();
    // A list may be that long.
    let is_short =
        |row: &Row| matches!(row.fault, Fault::Oversized { .. } | Fault::GzipBomb { .. });
    hold(&harness, "ListSessions", rows.filter(|row| !is_short(row)).collect()).await;
}

#[tokio::test]
async fn list_system_links_tells_each_trouble_by_its_row() {
    let harness = start(&[]).await;
    let rows = table::whole().into_iter();
    // These two faults lengthen an object, but the links are an array.
    let is_for_sessions =
        |row: &Row| matches!(row.fault, Fault::Oversized { .. } | Fault::GzipBomb { .. });
    hold(&harness, "ListSystemLinks", rows.filter(|row| !is_for_sessions(row)).collect()).await;
}

#[tokio::test]
async fn a_retry_after_date_is_told_as_a_delay() {
    let harness = start(&[]).await;
    let mut fault = table::vendor(429);
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
        // The list has a time limit of its own.
        for method in ["GetSession", "WatchSession", "ListSystemLinks"] {
            let number = harness.vendor.add_fault(fault.clone());
            let peer = harness.peer().await;
            let status = refusal(&peer, method, &[("authorization", "Bearer t")]).await;
            let (code, reason) = (Code::Unavailable, "UPSTREAM_TIMEOUT");
            let remedy = Remedy::Retry(1);
            let row = Row { fault: fault.clone(), code, reason, http_status: None, remedy };
            row.hold(&status, method);
            harness.vendor.delete_fault(number);
        }
    }
}

#[tokio::test]
async fn no_connection_is_told_apart() {
    let mut refused = start(&[]).await;
    refused.vendor.stop().await;
    let unknown = start(&["--upstream-url=http://vendor.invalid"]).await;
    // The simulator speaks no TLS.
    let folder = Folder::new();
    let trust = format!("--upstream-ca-file={}", folder.write("ca.pem", Authority::new().pem()));
    let without_tls = start(&["--upstream-url=https://VENDOR", &trust]).await;
    for harness in [refused, unknown, without_tls] {
        let peer = harness.peer().await;
        for method in METHODS {
            let status = refusal(&peer, method, &[("authorization", "Bearer t")]).await;
            let row = Row {
                fault: Fault::Right,
                code: Code::Unavailable,
                reason: "UPSTREAM_CONNECT_FAILED",
                http_status: None,
                remedy: Remedy::Retry(1),
            };
            row.hold(&status, method);
        }
    }
}

#[tokio::test]
async fn when_the_callers_time_is_over_that_is_what_it_is_told() {
    let harness = start(&[]).await;
    harness.vendor.add_fault(Fault::Hang);
    let peer = harness.peer().await;
    let headers = [("authorization", "Bearer t"), ("grpc-timeout", "300m")];
    for (number, method) in METHODS.iter().enumerate() {
        let status = refusal(&peer, method, &headers).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{method}");
        let info = status.get_details_error_info().unwrap();
        // The reason is the same, whichever timer expires first.
        assert_eq!((&*info.reason, &*info.domain), ("DEADLINE_EXCEEDED", DOMAIN));
        let cancelled = u64::try_from(number).unwrap() + 1;
        soon(harness.vendor.until(|counters| counters.cancelled == cancelled)).await;
    }
}

#[tokio::test]
async fn the_deadline_that_calls_have_without_one_is_told_alike() {
    let harness = start(&["--default-deadline=300ms"]).await;
    harness.vendor.add_fault(Fault::Hang);
    let peer = harness.peer().await;
    for method in METHODS {
        let status = refusal(&peer, method, &[("authorization", "Bearer t")]).await;
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), &*info.reason), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    }
}

#[tokio::test]
async fn a_callers_own_deadline_may_be_longer_than_the_default_one() {
    let harness = start(&["--default-deadline=100ms"]).await;
    harness.vendor.add_fault(Rule { delay: 0.5, ..Rule::from(Fault::Right) });
    let peer = harness.peer().await;
    let message = GetSessionRequest { session_id: SESSION.into() };
    let headers = [("authorization", "Bearer t"), ("grpc-timeout", "10S")];
    let answer = peer.call("GetSession", &message, &headers).await;
    assert!(Status::from_header_map(answer.headers()).is_none(), "{answer:?}");
}

#[tokio::test]
async fn without_a_credential_nothing_is_sent() {
    let harness = start(&[]).await;
    let peer = harness.peer().await;
    for method in METHODS {
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

/// Refusals by the simulator itself, without a rule.
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
    let harness = Harness::with(&["--max-watches=1"]).await;
    let message = WatchSessionRequest { session_id: SESSION.into(), ..Default::default() };
    let only = soon(harness.client().watch_session(authorized("t", message))).await;
    let peer = harness.peer().await;
    let status = refusal(&peer, "WatchSession", &[("authorization", "Bearer t")]).await;
    pushes_back(&status, "OVERLOADED");
    assert_eq!(harness.vendor.counters().requests, 1);
    drop(only.unwrap());

    let slow = ["--upstream-rps=0.001", "--upstream-burst=1", "--finished-cache=0s"];
    let harness = Harness::with(&slow).await;
    harness.vendor.add_fault(Rule::times(1, Fault::status(404)));
    get(&harness, &[("authorization", "Bearer t")]).await;
    let peer = harness.peer().await;
    for method in METHODS {
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

#[tokio::test]
async fn a_service_without_a_seat_is_denied_and_helped_after_one_refresh() {
    let harness = start(&with_grant("--refresh-token=no-seat-grant")).await;
    let peer = harness.peer().await;
    for method in METHODS {
        let status = refusal(&peer, method, &[]).await;
        let info = status.get_details_error_info().unwrap();
        let expected = (Code::PermissionDenied, "NO_REMOTE_SUPPORT_SEAT", DOMAIN);
        assert_eq!((status.code(), &*info.reason, &*info.domain), expected, "{method}");
        assert_eq!(info.metadata.get("http_status").map(String::as_str), Some("401"), "{method}");
        // The caller can do nothing. An administrator of the account can.
        let help = status.get_details_help().unwrap();
        assert_eq!(help.links[0].url, "https://admin.goto.com/", "{method}");
        says_nothing_of_the_vendors(&status);
        if method == "GetSession" {
            assert_eq!(harness.vendor.counters().token_requests, 2, "one refresh");
        }
    }
}

#[tokio::test]
async fn a_service_whose_credential_cannot_be_had_is_unavailable() {
    let harness = start(&with_grant("--refresh-token=good-grant")).await;
    let fault = Rule { route: Route::Token, ..Rule::from(table::vendor(503)) };
    harness.vendor.add_fault(fault);
    let peer = harness.peer().await;
    for method in METHODS {
        let status = refusal(&peer, method, &[]).await;
        let info = status.get_details_error_info().unwrap();
        let expected = (Code::Unavailable, "SERVICE_CREDENTIAL_UNAVAILABLE", DOMAIN);
        assert_eq!((status.code(), &*info.reason, &*info.domain), expected, "{method}");
        assert!(status.get_details_retry_info().is_some());
        says_nothing_of_the_vendors(&status);
    }
    assert_eq!(harness.vendor.counters().requests, 0);
}

#[test]
fn every_reason_is_documented() {
    let documents = [
        include_str!("../../proto/gotoassist/remotesupport/v1/remote_support_service.proto"),
        include_str!("../../docs/calling.md"),
    ];
    // Only the health service uses this reason.
    let reasons: Vec<_> =
        Reason::ALL.iter().filter(|reason| **reason != Reason::ServiceUnknown).collect();
    assert!(reasons.len() > 25, "{reasons:?}");
    for document in documents {
        let missing: Vec<_> =
            reasons.iter().filter(|reason| !document.contains(reason.name())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

/// Flags for a service with a credential of its own.
fn with_grant(grant: &str) -> [&str; 5] {
    let token_url = "--token-url=http://VENDOR/oauth/token";
    ["--credentials=service", "--client-id=id", "--client-secret=secret", grant, token_url]
}

async fn start(more: &[&str]) -> Harness {
    Harness::with(&[&FLAGS, more].concat()).await
}

async fn get(harness: &Harness, headers: &[(&str, &str)]) -> Status {
    refusal(&harness.peer().await, "GetSession", headers).await
}
