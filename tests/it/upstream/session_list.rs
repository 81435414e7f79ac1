//! The vendor's list of sessions, read as it arrives.

use std::time::Duration;

use gotoassist_grpc::{
    config::UpstreamConfig,
    model::ListWindow,
    trace::Cause,
    traffic::quota::Class,
    wire::{Answer, Error, Kind, ListSummary},
};
use tokio::time::Instant;

use super::{caller, client, client_with, faults::gzip, id, terms};
use crate::kit::{
    soon,
    stub::{Step, Stub, answer, ok},
};

const LIST: &str = r#"{"totalNumSessions":2,"sessions":[
    {"sessionId":1,"sessionStartToken":11,"status":"active"},
    {"sessionStartToken":"12","status":"notStarted"}]}"#;

fn window() -> ListWindow {
    let time = |text: &str| text.parse().unwrap();
    ListWindow { from: time("2016-10-31T08:30:00.7Z"), to: time("2016-10-31T09:30:00.2Z") }
}

/// The ids or start tokens of the listed sessions, and what a read says about itself.
type Swept = (Vec<String>, Answer<ListSummary>);

async fn sweep(
    stub: &Stub,
    change: impl FnOnce(&mut UpstreamConfig),
) -> Result<Swept, (Vec<String>, Error)> {
    let client = client_with(stub, change);
    let mut kept = Vec::new();
    let keep = |listed: gotoassist_grpc::model::ListedSession| {
        let id = Some(listed.session.session_id).filter(|id| !id.is_empty());
        kept.push(id.or(listed.start_token).unwrap());
    };
    let (caller, class) = (caller(), Class::Unary);
    let swept = client.sweep_sessions(&caller, &window(), class, &Cause::default(), keep).await;
    match swept {
        Ok(answer) => Ok((kept, answer)),
        Err(error) => Err((kept, error)),
    }
}

async fn kind(steps: Vec<Step>) -> Kind {
    sweep(&Stub::always(steps).await, |_| {}).await.expect_err("an error").1.kind
}

#[tokio::test]
async fn a_list_is_read_and_the_request_is_what_the_vendor_documents() {
    let stub = Stub::always(ok(LIST)).await;
    let (ids, answer) = sweep(&stub, |_| {}).await.unwrap();
    assert_eq!(ids, ["1", "12"]);
    let bytes = LIST.len();
    let expected = ListSummary { total: Some(2), sessions: 2, unreadable: 0, pages: 1, bytes };
    assert_eq!(answer.content, expected);
    let head = stub.heads().remove(0);
    let target = "/G2A/rest/v1/sessions?sessionType=SCREEN_SHARING\
        &fromTime=2016-10-31T08:30:00Z&toTime=2016-10-31T09:30:01Z";
    assert!(head.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{head}");
    assert!(head.to_lowercase().contains("\r\nauthorization: bearer caller-token\r\n"), "{head}");
}

#[tokio::test]
async fn a_packed_list_is_read() {
    for (name, packed) in [
        ("gzip", [gzip(&LIST.as_bytes()[..50]), gzip(&LIST.as_bytes()[50..])].concat()),
        ("X-GZIP", [gzip(LIST.as_bytes()), vec![0; 512]].concat()),
        ("zstd", zstd::encode_all(LIST.as_bytes(), 1).unwrap()),
    ] {
        let coding = format!("content-encoding: {name}");
        let length = packed.len();
        // In pieces of every kind: the head with the first bytes, a few bytes, the rest.
        let head = format!("HTTP/1.1 200 OK\r\n{coding}\r\ncontent-length: {length}\r\n\r\n");
        let (first, rest) = packed.split_at(3);
        let (second, rest) = rest.split_at(9);
        let pause = || Step::Wait(Duration::from_millis(20));
        let stub = Stub::always(vec![
            Step::Send([head.as_bytes(), first].concat()),
            pause(),
            Step::Send(second.into()),
            pause(),
            Step::Send(rest.into()),
        ]);
        let (ids, answer) = sweep(&stub.await, |_| {}).await.unwrap();
        assert_eq!((ids.join(" ").as_str(), answer.content.bytes), ("1 12", LIST.len()), "{name}");
    }
    let packed = gzip(LIST.as_bytes());
    let cut = packed[..packed.len() - 10].to_vec();
    for (name, body) in [("gzip", cut), ("gzip", LIST.into()), ("zstd", LIST.into())] {
        let coding = format!("content-encoding: {name}");
        assert_eq!(kind(answer("200 OK", &[&coding], body)).await, Kind::Malformed, "{name}");
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_is_an_error_though_sessions_were_read() {
    let body = &LIST[..LIST.len() - 10];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", LIST.len());
    for end in [Step::Close, Step::Reset] {
        let steps =
            vec![Step::Send(head.clone().into()), Step::Wait(Duration::from_millis(50)), end];
        let (ids, error) = sweep(&Stub::always(steps).await, |_| {}).await.unwrap_err();
        assert_eq!((error.kind, error.http_status), (Kind::Unavailable, Some(200)));
        assert_eq!(ids, ["1"]);
    }
    // The body is as long as announced, but its JSON is not complete.
    assert_eq!(kind(ok(body)).await, Kind::Malformed);
}

#[tokio::test]
async fn a_list_over_the_limit_is_malformed_announced_packed_or_not() {
    let limit = |config: &mut UpstreamConfig| config.list_limit = 100_000;
    let long = format!("[{}]", r#"{"sessionId":1},"#.repeat(10_000).trim_end_matches(','));
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let bomb = gzip(long.as_bytes());
    assert!(bomb.len() < 10_000);
    for steps in [
        ok(&long),
        vec![Step::Send([chunked, &chunk].concat().into())],
        answer("200 OK", &["content-encoding: gzip"], bomb),
    ] {
        let stub = Stub::always(steps).await;
        assert_eq!(sweep(&stub, limit).await.unwrap_err().1.kind, Kind::Malformed);
        assert_eq!(sweep(&stub, |_| {}).await.unwrap().0, ["1"]);
    }
}

#[tokio::test]
async fn a_list_has_a_time_limit_of_its_own() {
    let limits = |config: &mut UpstreamConfig| {
        config.timeout = Duration::from_millis(200);
        config.list_timeout = Duration::from_secs(1);
    };
    let slow =
        vec![Step::Wait(Duration::from_millis(500)), Step::Send(b"HTTP/1.1 200 OK\r\n".into())];
    let rest = format!("content-length: {}\r\n\r\n{LIST}", LIST.len());
    let slow = [slow, vec![Step::Send(rest.into())]].concat();
    sweep(&Stub::always(slow).await, limits).await.unwrap();

    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", LIST.len());
    let stub = Stub::always(vec![Step::Send(head.into()), Step::Trickle(LIST.into())]).await;
    let began_at = Instant::now();
    let (_, error) = sweep(&stub, limits).await.unwrap_err();
    assert_eq!(error.kind, Kind::Timeout);
    assert!(began_at.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_reader_who_leaves_cancels_the_request() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{{", LIST.len());
    let stub = Stub::always(vec![Step::Send(head.into()), Step::Hang]).await;
    let read = async {
        sweep(&stub, |_| {}).await.ok();
    };
    tokio::time::timeout(Duration::from_millis(200), read).await.unwrap_err();
    soon(stub.until_hangups(1)).await;
}

#[tokio::test]
async fn what_is_no_list_is_the_error_it_names_or_malformed() {
    for (status, body, expected) in [
        ("200 OK", "<html></html>", Kind::Malformed),
        ("200 OK", "{}", Kind::Malformed),
        ("200 OK", "", Kind::Malformed),
        ("200 OK", r#"{"int_err_code":"InvalidToken"}"#, Kind::CredentialRejected),
        ("200 OK", r#"{"errorCode":"RateLimitExceeded","sessions":[]}"#, Kind::RateLimited),
        ("401 Unauthorized", "", Kind::CredentialRejected),
        ("403 Forbidden", "", Kind::PermissionDenied),
        ("404 Not Found", "", Kind::NotFound),
        ("405 Method Not Allowed", "", Kind::MethodNotSupported),
        ("429 Too Many Requests", "", Kind::RateLimited),
        ("500 Internal Server Error", "", Kind::Internal),
        ("503 Service Unavailable", "", Kind::Unavailable),
        ("302 Found", "", Kind::Redirect),
    ] {
        assert_eq!(kind(answer(status, &[], body)).await, expected, "{status} {body}");
    }
}

/// A vendor with three pages of two sessions.
async fn paging() -> Stub {
    Stub::scripted(|_, head| {
        let page = head.split_once("&page=").map_or(1, |(_, rest)| rest[..1].parse().unwrap());
        let [one, two] = [page * 2 - 1, page * 2];
        let sessions = format!(r#"{{"sessionId":{one}}},{{"sessionId":{two}}}"#);
        ok(format!(r#"{{"totalNumSessions":6,"sessions":[{sessions}]}}"#))
    })
    .await
}

#[tokio::test]
async fn pages_are_followed_and_each_passes_the_quota() {
    let stub = paging().await;
    let began_at = Instant::now();
    let slow = |config: &mut UpstreamConfig| (config.rps, config.burst) = (4.0, 1);
    let (ids, answer) = sweep(&stub, slow).await.unwrap();
    assert_eq!(ids.join(" "), "1 2 3 4 5 6");
    assert_eq!((answer.content.pages, stub.requests()), (3, 3));
    assert!(began_at.elapsed() >= Duration::from_millis(500), "{:?}", began_at.elapsed());
    assert!(answer.observed_at <= jiff::Timestamp::now());
}

#[tokio::test]
async fn a_vendor_without_pages_is_asked_for_one_at_most() {
    let body = LIST.replace(r#""totalNumSessions":2"#, r#""totalNumSessions":9"#);
    let stub = Stub::always(ok(body)).await;
    let (ids, _) = sweep(&stub, |_| {}).await.unwrap();
    assert_eq!((ids.join(" ").as_str(), stub.requests()), ("1 12", 2));
}

#[tokio::test]
async fn there_are_a_hundred_pages_at_most() {
    let stub = Stub::scripted(|number, _| {
        ok(format!(r#"{{"totalNumSessions":100000,"sessions":[{{"sessionId":{number}}}]}}"#))
    });
    let stub = stub.await;
    let (ids, answer) = sweep(&stub, |_| {}).await.unwrap();
    assert_eq!((ids.len(), answer.content.pages, stub.requests()), (100, 100, 100));
}

#[tokio::test]
async fn a_list_that_fails_stops_no_other_call() {
    let stub = Stub::scripted(|_, head| match head {
        head if head.contains("sessionType") => answer("503 Service Unavailable", &[], ""),
        _ => ok(r#"{"sessionId":"1"}"#),
    });
    let stub = stub.await;
    let client = client(&stub);
    let (caller, mut window, cause) = (caller(), window(), Cause::default());
    for _ in 0..20 {
        let swept = client.sweep_sessions(&caller, &window, Class::Unary, &cause, |_| {}).await;
        assert_eq!(swept.unwrap_err().kind, Kind::Unavailable);
        window.to += Duration::from_secs(5);
    }
    // After five failures, the circuit of the list is open, whatever the window is.
    assert_eq!(stub.requests(), 5);
    client.session(&caller, &id("1"), terms()).await.unwrap();
}
