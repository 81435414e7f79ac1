//! `ListSessions` over real sockets: its arguments, pages, filters, limits and errors.

mod sharing;

use std::time::Duration;

use gotoassist_grpc::{
    proto::{ListSessionsRequest, ListSessionsResponse, SessionStatus},
    simulator::{Fault, Route, Rule, SessionScript},
};
use jiff::Timestamp;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::kit::{
    harness::Harness,
    reason,
    request::authorized,
    soon,
    stub::{Step, Stub, ok},
};

/// A page of the list for the caller `t`.
async fn list(
    harness: &Harness,
    request: ListSessionsRequest,
) -> Result<ListSessionsResponse, Status> {
    let request = authorized("t", request);
    soon(harness.client().list_sessions(request)).await.map(tonic::Response::into_inner)
}

/// All pages of a list.
async fn pages(harness: &Harness, mut request: ListSessionsRequest) -> Vec<ListSessionsResponse> {
    let mut pages = Vec::new();
    loop {
        let page = list(harness, request.clone()).await.unwrap();
        request.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

/// The ids or start tokens of sessions.
fn ids(pages: &[ListSessionsResponse]) -> Vec<String> {
    let sessions = pages.iter().flat_map(|page| &page.sessions);
    sessions.map(|session| session.session_id.clone()).collect()
}

/// The service in front of a stub.
async fn in_front_of(stub: &Stub, more: &[&str]) -> Harness {
    let upstream = format!("--upstream-url={}", stub.url());
    let own = ["--upstream-rps=1000", "--upstream-burst=1000", "--upstream-retries=0", &upstream];
    Harness::with(&[&own, more].concat()).await
}

/// The service in front of a stub with these sessions.
async fn with_sessions(sessions: &[String]) -> (Harness, Stub) {
    let body = format!(r#"{{"totalNumSessions":0,"sessions":[{}]}}"#, sessions.join(","));
    let stub = Stub::always(ok(body)).await;
    (in_front_of(&stub, &[]).await, stub)
}

#[expect(clippy::unnecessary_wraps, reason = "as in the messages")]
fn time(text: &str) -> Option<prost_types::Timestamp> {
    let time: Timestamp = text.parse().unwrap();
    Some(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

fn now() -> Timestamp {
    Timestamp::now()
}

#[tokio::test]
async fn a_listed_session_has_the_fields_of_the_list_and_no_others() {
    let harness = Harness::start().await;
    let page = list(&harness, ListSessionsRequest::default()).await.unwrap();
    let listed = page.sessions.iter().find(|session| session.session_id == "250040303").unwrap();
    assert_eq!(listed.status(), SessionStatus::Active);
    assert_eq!(listed.upstream_status, "active");
    assert!(listed.started_at.is_some() && listed.expert_name.is_some());
    assert_eq!((&listed.notes, &listed.account_name), (&None, &None));
    assert!(listed.collaborators.is_empty());
    let more = listed.additional_fields.as_ref().unwrap();
    assert_eq!(more.fields.keys().collect::<Vec<_>>(), ["sessionStartToken"]);
    let observed_at = page.observed_at.unwrap().seconds;
    assert!((now().as_second() - 60..=now().as_second()).contains(&observed_at));
    assert!(!format!("{page:?} {:?}", page.sessions).contains("250040303"));
    assert_eq!(page.next_page_token, "");
}

#[tokio::test]
async fn a_session_that_is_not_started_is_known_by_its_token() {
    let session = r#"{"sessionStartToken":123456789012345678901,"status":"notStarted"}"#;
    let (harness, _stub) = with_sessions(&[session.to_owned()]).await;
    let page = list(&harness, ListSessionsRequest::default()).await.unwrap();
    let [session] = &page.sessions[..] else { panic!("one session") };
    assert_eq!((&*session.session_id, session.status()), ("", SessionStatus::NotStarted));
    let token = &session.additional_fields.as_ref().unwrap().fields["sessionStartToken"];
    let Some(prost_types::value::Kind::StringValue(token)) = &token.kind else { panic!("text") };
    assert_eq!(token, "123456789012345678901");
}

#[tokio::test]
async fn the_window_is_sent_as_documented_and_defaults_to_the_last_day() {
    let harness = Harness::start().await;
    let request = ListSessionsRequest {
        from_time: time("2016-10-31T08:30:00.9Z"),
        to_time: time("2016-10-31T09:30:00.1Z"),
        ..ListSessionsRequest::default()
    };
    list(&harness, request).await.unwrap();
    let begin = now();
    list(&harness, ListSessionsRequest::default()).await.unwrap();
    let [given, default] = &harness.targets()[..] else { panic!("two requests") };
    let target = "/G2A/rest/v1/sessions?sessionType=SCREEN_SHARING&";
    let window = "fromTime=2016-10-31T08:30:00Z&toTime=2016-10-31T09:30:01Z";
    assert_eq!(given, &format!("{target}{window}"));

    let times = default.strip_prefix(target).unwrap().split_once('&').unwrap();
    let seconds = |text: &str, name: &str| {
        let time: Timestamp = text.strip_prefix(name).unwrap().parse().unwrap();
        time.as_second() - begin.as_second()
    };
    assert!((-86_400..-86_340).contains(&seconds(times.0, "fromTime=")), "{default}");
    assert!((60..120).contains(&seconds(times.1, "toTime=")), "{default}");
}

#[tokio::test]
async fn a_bad_argument_is_refused_and_nothing_sent() {
    let harness = Harness::start().await;
    let valid = ListSessionsRequest::default();
    let odd = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let (early, late) = (time("2016-10-31T08:30:00Z"), time("2016-10-31T09:30:00Z"));
    for (request, field) in [
        (ListSessionsRequest { from_time: late, to_time: early, ..valid.clone() }, "from_time"),
        (ListSessionsRequest { from_time: early, to_time: early, ..valid.clone() }, "from_time"),
        (ListSessionsRequest { to_time: early, ..valid.clone() }, "from_time"),
        (ListSessionsRequest { from_time: odd(0, -1), ..valid.clone() }, "from_time"),
        (ListSessionsRequest { from_time: odd(i64::MIN, 0), ..valid.clone() }, "from_time"),
        (ListSessionsRequest { to_time: odd(0, 1_000_000_000), ..valid.clone() }, "to_time"),
        (ListSessionsRequest { to_time: odd(i64::MAX, 0), ..valid.clone() }, "to_time"),
        (ListSessionsRequest { statuses: vec![3, 6], ..valid.clone() }, "statuses"),
        (ListSessionsRequest { statuses: vec![-1], ..valid.clone() }, "statuses"),
        (ListSessionsRequest { page_size: -1, ..valid.clone() }, "page_size"),
    ] {
        let status = list(&harness, request).await.unwrap_err();
        assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "ARGUMENT_INVALID"));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!((violations.len(), &*violations[0].field), (1, field));
    }
    assert_eq!(harness.vendor.counters().requests, 0);
    let never = ListSessionsRequest { to_time: odd(253_402_300_799, 0), ..valid };
    list(&harness, never).await.unwrap();
}

/// 2,500 sessions with 50 starts, in an order that has nothing to do with that of the pages.
fn desk() -> Vec<String> {
    let session = |number: u64| {
        let id = 1_000_000 + number * 7_919 % 2_500;
        let start = number % 50;
        format!(
            r#"{{"sessionId":{id},"status":"active","startedAt":"2026-01-02T03:00:{start:02}Z"}}"#
        )
    };
    (0..2_500).map(session).collect()
}

#[tokio::test]
async fn pages_are_one_list_in_order_with_every_session_once() {
    let (harness, _stub) = with_sessions(&desk()).await;
    let of_size = |page_size| ListSessionsRequest { page_size, ..ListSessionsRequest::default() };
    let whole = pages(&harness, of_size(1_000)).await;
    let order = ids(&whole);
    let key = |session: &gotoassist_grpc::proto::Session| {
        (session.started_at.unwrap().seconds, session.session_id.clone())
    };
    assert!(whole.iter().flat_map(|page| &page.sessions).is_sorted_by_key(key));
    let mut distinct = order.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 2_500);

    let sizes = |pages: &[ListSessionsResponse]| {
        pages.iter().map(|page| page.sessions.len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&whole), [1_000, 1_000, 500]);
    for (asked, given) in [(0, 100), (100, 100), (999, 999), (1_001, 1_000), (i32::MAX, 1_000)] {
        let pages = pages(&harness, of_size(asked)).await;
        assert_eq!(pages[0].sessions.len(), given, "{asked}");
        assert_eq!(ids(&pages), order, "{asked}");
    }
}

#[tokio::test]
async fn the_length_of_pages_may_change_and_a_last_page_may_be_full() {
    let (harness, _stub) = with_sessions(&desk()[..10]).await;
    let mut request = ListSessionsRequest { page_size: 4, ..ListSessionsRequest::default() };
    let first = list(&harness, request.clone()).await.unwrap();
    (request.page_size, request.page_token) = (6, first.next_page_token.clone());
    let second = list(&harness, request).await.unwrap();
    assert_eq!((first.sessions.len(), second.sessions.len()), (4, 6));
    assert_eq!(second.next_page_token, "");
}

#[tokio::test]
async fn a_page_has_no_more_than_clients_accept() {
    let heavy = |number: u32| {
        let (text, zeros) = ("x".repeat(300_000), "0,".repeat(5_000));
        format!(r#"{{"sessionId":{number},"customerName":"{text}","zeros":[{zeros}0]}}"#)
    };
    let sessions: Vec<_> = (10..40).map(heavy).collect();
    let (harness, _stub) = with_sessions(&sessions).await;
    let pages = pages(&harness, ListSessionsRequest::default()).await;
    assert!(pages.len() > 2, "{}", pages.len());
    assert!(pages.iter().all(|page| page.encoded_len() < 4 * 1024 * 1024));
    assert_eq!(ids(&pages), (10..40).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_window_of_the_first_page_is_that_of_all() {
    let harness = Harness::with(&["--upstream-rps=1000", "--upstream-burst=1000"]).await;
    let request = ListSessionsRequest { page_size: 2, ..ListSessionsRequest::default() };
    let first = list(&harness, request.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let request = ListSessionsRequest { page_token: first.next_page_token, ..request };
    list(&harness, request).await.unwrap();
    let [one, two] = &harness.targets()[..] else { panic!("two requests") };
    assert_eq!(one, two);
}

#[tokio::test]
async fn a_page_token_is_for_its_arguments_only() {
    let (harness, _stub) = with_sessions(&desk()).await;
    let valid = ListSessionsRequest {
        statuses: vec![SessionStatus::Active.into()],
        page_size: 5,
        ..ListSessionsRequest::default()
    };
    let token = list(&harness, valid.clone()).await.unwrap().next_page_token;
    assert!(!token.contains("1000"), "{token}");
    let mut altered = token.clone().into_bytes();
    altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    let with = |token: &str| ListSessionsRequest { page_token: token.to_owned(), ..valid.clone() };
    let active = SessionStatus::Active.into();
    for request in [
        with(&altered),
        with("p1."),
        with("p2.AAAA"),
        with("nonsense"),
        with(&token[..token.len() - 1]),
        ListSessionsRequest { statuses: vec![], ..with(&token) },
        ListSessionsRequest { statuses: vec![active, 2], ..with(&token) },
        ListSessionsRequest { from_time: time("2026-01-01T00:00:00Z"), ..with(&token) },
        ListSessionsRequest { to_time: time("2126-01-01T00:00:00Z"), ..with(&token) },
    ] {
        let status = list(&harness, request.clone()).await.unwrap_err();
        let expected = (Code::InvalidArgument, "PAGE_TOKEN_INVALID".to_owned());
        assert_eq!((status.code(), reason(&status)), expected, "{request:?}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "page_token");
    }
    // The same arguments, however they are written.
    let same =
        ListSessionsRequest { statuses: vec![active, active], ..with(&format!("{token}\n")) };
    list(&harness, same).await.unwrap();
}

#[tokio::test]
async fn statuses_select_sessions_and_unspecified_those_without_a_name() {
    let statuses = ["notStarted", "WAITING", "active", "complete", "abandoned", "onHold", "paused"];
    let sessions: Vec<_> = statuses
        .iter()
        .enumerate()
        .map(|(number, status)| format!(r#"{{"sessionId":{number},"status":"{status}"}}"#))
        .collect();
    let (harness, _stub) = with_sessions(&sessions).await;
    for (statuses, expected) in [
        (vec![], "0 1 2 3 4 5 6"),
        (vec![SessionStatus::Waiting], "1"),
        (vec![SessionStatus::NotStarted, SessionStatus::Complete], "0 3"),
        (vec![SessionStatus::Unspecified], "5 6"),
        (vec![SessionStatus::Unspecified, SessionStatus::Active], "2 5 6"),
    ] {
        let statuses = statuses.into_iter().map(Into::into).collect();
        let request = ListSessionsRequest { statuses, ..ListSessionsRequest::default() };
        let page = list(&harness, request).await.unwrap();
        assert_eq!(ids(&[page]).join(" "), expected);
    }
}

#[tokio::test]
async fn the_vendors_pages_are_followed() {
    let harness = Harness::with(&["--upstream-rps=1000", "--upstream-burst=1000"]).await;
    let whole = list(&harness, ListSessionsRequest::default()).await.unwrap();
    assert!(whole.sessions.len() > 3);
    harness.vendor.change_settings(|settings| settings.list.page_size = 3);
    let paged = list(&harness, ListSessionsRequest::default()).await.unwrap();
    assert_eq!(paged.sessions, whole.sessions);
    let count = u64::try_from(whole.sessions.len().div_ceil(3)).unwrap();
    assert_eq!(harness.vendor.counters().requests, 1 + count);
}

#[tokio::test]
async fn a_list_beyond_the_limit_is_malformed() {
    let harness = Harness::with(&["--upstream-retries=0"]).await;
    harness.vendor.change_settings(|settings| settings.list.extra = 100_000);
    let status = list(&harness, ListSessionsRequest::default()).await.unwrap_err();
    let expected = (Code::Internal, "UPSTREAM_MALFORMED_RESPONSE".to_owned());
    assert_eq!((status.code(), reason(&status)), expected);
    // Megabytes below the limit are fine.
    harness.vendor.change_settings(|settings| settings.list.extra = 20_000);
    assert_eq!(list(&harness, ListSessionsRequest::default()).await.unwrap().sessions.len(), 100);
}

#[tokio::test]
async fn a_list_that_comes_slowly_ends_at_the_deadline() {
    let harness = Harness::start().await;
    harness.vendor.change_settings(|settings| {
        (settings.list.extra, settings.list.duration) = (10_000, 60.0);
    });
    let headers = [("authorization", "Bearer t"), ("grpc-timeout", "1S")];
    let message = ListSessionsRequest::default();
    let status = harness.peer().await.refusal("ListSessions", &message, &headers).await;
    let expected = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned());
    assert_eq!((status.code(), reason(&status)), expected);
}

#[tokio::test]
async fn a_list_that_breaks_off_is_read_again_from_the_beginning() {
    let body = r#"{"sessions":[{"sessionId":1},{"sessionId":2}]}"#;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let half = format!(r#"{head}{{"sessions":[{{"sessionId":7}},"#);
    let stub = Stub::scripted(move |number, _| match number {
        0 => vec![
            Step::Send(half.clone().into()),
            Step::Wait(Duration::from_millis(50)),
            Step::Close,
        ],
        _ => ok(body),
    });
    let stub = stub.await;
    let harness = in_front_of(&stub, &["--upstream-retries=1"]).await;
    let page = list(&harness, ListSessionsRequest::default()).await.unwrap();
    assert_eq!(ids(&[page]).join(" "), "1 2", "nothing of the first answer is told");
    assert_eq!(stub.requests(), 2);
}

#[tokio::test]
async fn only_what_the_credential_may_see_is_listed() {
    let harness = Harness::start().await;
    let script = SessionScript::resting("990000001", "active").visible_to(&["owner"]);
    harness.vendor.put_session(script).unwrap();
    let has = async |token: &str| {
        let request = authorized(token, ListSessionsRequest::default());
        let page = soon(harness.client().list_sessions(request)).await.unwrap().into_inner();
        page.sessions.iter().any(|session| session.session_id == "990000001")
    };
    assert!(has("owner").await);
    assert!(!has("stranger").await);
}

#[tokio::test]
async fn an_error_is_tried_again_like_that_of_every_other_call() {
    let harness = Harness::start().await;
    let fault = Rule { route: Route::SessionList, ..Rule::times(2, Fault::status(503)) };
    harness.vendor.add_fault(fault);
    list(&harness, ListSessionsRequest::default()).await.unwrap();
    assert_eq!(harness.vendor.counters().requests, 3);
}
