//! Every fault, as it is on the wire.

use std::time::Duration;

use gotoassist_grpc::{
    config::simulate::{ErrorBody, SimulateConfig},
    simulator::{Fault, RetryAfter, Route, Rule, SessionScript, router},
};
use tokio::time::Instant;

use super::{End, Running};

const PATH: &str = "/sessions/250040304";

/// What a client receives on the connection of a fault, until its end.
async fn wire(fault: Fault) -> (String, End) {
    wire_until(fault, |_| false).await
}

async fn wire_until(fault: Fault, enough: impl Fn(&[u8]) -> bool) -> (String, End) {
    let simulator = Running::start().await;
    simulator.add_fault(fault);
    let (bytes, end) = simulator.raw(PATH, enough).await;
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

/// The body of an answer without the head, and the length that the head announces.
fn body(text: &str) -> (&str, Option<usize>) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    (body, length.map(|length| length.parse().unwrap()))
}

/// The body of a fault that answers 200.
async fn fetched(fault: Fault) -> Vec<u8> {
    let simulator = Running::start().await;
    simulator.add_fault(fault);
    let answer = simulator.get(PATH).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn half_a_body_then_close() {
    let (text, end) = wire(Fault::HalfBody).await;
    let (body, length) = body(&text);
    assert!(body.starts_with(r#"{"sessionId":"250040304","sessionType":"#), "{body}");
    assert!(body.contains(r#""status":"complete""#), "{body}");
    assert_eq!((body.len(), end), (length.unwrap() / 2, End::Closed));
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn half_a_body_in_chunks_then_close() {
    let (text, end) = wire(Fault::HalfChunk).await;
    assert!(text.contains("transfer-encoding: chunked") && !text.ends_with("0\r\n\r\n"));
    assert_eq!(end, End::Closed);
}

#[tokio::test]
async fn a_reset_before_and_within_the_answer() {
    assert_eq!(wire(Fault::Reset).await, (String::new(), End::Reset));
    let (text, end) = wire(Fault::ResetHalfway).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(end, End::Reset);
}

#[tokio::test]
async fn a_close_before_any_byte() {
    assert_eq!(wire(Fault::Close).await, (String::new(), End::Closed));
}

#[tokio::test]
async fn headers_without_end() {
    let (text, end) = wire_until(Fault::EndlessHeaders, |bytes| bytes.len() > 1_000_000).await;
    assert!(!text.contains("\r\n\r\n") && text.contains("x-endless: "));
    assert_eq!(end, End::Open);
}

#[tokio::test]
async fn one_byte_at_a_time() {
    let started = Instant::now();
    let fault = Fault::Trickle { seconds: 0.01 };
    let (text, _) = wire_until(fault, |bytes| bytes.len() >= 20).await;
    assert!(text.starts_with("HTTP/1.1 200 OK"));
    assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_answer_in_http_1_0() {
    let (text, end) = wire(Fault::Http10).await;
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.ends_with('}'));
    assert_eq!((body(&text).1, end), (None, End::Closed));
    assert!(fetched(Fault::Http10).await.ends_with(b"}"));
}

#[tokio::test]
async fn interim_answers_before_the_right_one() {
    let (text, _) = wire(Fault::Informational { status: 103, times: 2 }).await;
    assert_eq!(text.matches("HTTP/1.1 103 Early Hints\r\n\r\n").count(), 2);
    assert!(text.contains("\r\n\r\nHTTP/1.1 200 OK\r\n"));
    assert!(fetched(Fault::Informational { status: 100, times: 1 }).await.ends_with(b"}"));
}

#[tokio::test]
async fn bytes_that_are_no_http() {
    let (text, end) = wire(Fault::Garbage).await;
    assert!(text.contains("not HTTP"));
    assert_eq!(end, End::Closed);
}

#[tokio::test]
async fn no_content_and_an_empty_body() {
    let simulator = Running::start().await;
    simulator.add_fault(Rule { times: Some(1), ..Rule::from(Fault::NoContent) });
    simulator.add_fault(Fault::EmptyBody);
    assert_eq!(simulator.status("t", PATH).await, 204);
    assert_eq!(simulator.text(PATH).await, "");
}

#[tokio::test]
async fn a_redirect_leads_elsewhere() {
    let simulator = Running::start().await;
    let rules = ["redirect", r#"{"fault":{"kind":"redirect","status":308}}"#];
    for (rule, status) in rules.into_iter().zip([302, 308]) {
        simulator.clear_faults();
        simulator.add_fault(rule.parse::<Rule>().unwrap());
        let answer = simulator.get(PATH).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["location"], "https://elsewhere.example/");
    }
}

#[tokio::test]
async fn bodies_that_are_no_session() {
    assert!(fetched(Fault::Html).await.starts_with(b"<!DOCTYPE html>"));
    let body = Fault::Body { text: "[1]".into(), content_type: "text/plain".into() };
    assert_eq!(fetched(body).await, b"[1]");
    let bad = fetched(Fault::BadJson).await;
    assert!(serde_json::from_slice::<serde_json::Value>(&bad).is_err() && bad.len() > 50);
    let bad = fetched(Fault::InvalidUtf8).await;
    assert!(std::str::from_utf8(&bad).is_err());
}

#[tokio::test]
async fn bodies_that_are_hard_to_read() {
    let double = String::from_utf8(fetched(Fault::DuplicateKeys).await).unwrap();
    assert_eq!(double.matches(r#""status":"#).count(), 2);
    let deep = String::from_utf8(fetched(Fault::DeepNesting { depth: 5000 }).await).unwrap();
    assert!(deep.contains(&"[".repeat(5000)));
    let long = fetched(Fault::Oversized { bytes: 2 << 20 }).await;
    assert!(long.len() > 2 << 20);
    let unpacked = fetched(Fault::GzipBomb { bytes: 2 << 20 }).await;
    assert!(
        unpacked.len() > 2 << 20 && serde_json::from_slice::<serde_json::Value>(&unpacked).is_ok()
    );
    let fault = Fault::GzipBomb { bytes: 2 << 20 };
    let (packed, _) = wire_until(fault, |bytes| bytes.len() > 500).await;
    assert!(packed.contains("content-encoding: gzip"));
    assert!(body(&packed).1.unwrap() < 50_000);
}

#[tokio::test]
async fn any_status_with_any_body() {
    let simulator = Running::start().await;
    let bodies = [
        (ErrorBody::Product, r#"{"errorCode":"X","#),
        (ErrorBody::Gateway, r#"{"int_err_code":"X","#),
        (ErrorBody::Route, r#"{"errorCode":"X","message"#),
        (ErrorBody::Oauth, r#"{"error":"X","#),
        (ErrorBody::Html, "<!DOCTYPE html>"),
        (ErrorBody::Empty, ""),
    ];
    for status in [400, 404, 418, 429, 500, 503, 599] {
        for (body, begin) in bodies {
            let fault = Fault::Status {
                status,
                body,
                code: Some("X".into()),
                reason: None,
                retry_after: Some(RetryAfter::Seconds(7)),
                retry_after_date: None,
            };
            simulator.add_fault(Rule { times: Some(1), ..Rule::from(fault) });
            let answer = simulator.get(PATH).await.unwrap();
            assert_eq!(answer.status().as_u16(), status);
            assert_eq!(answer.headers()["retry-after"], "7");
            let text = answer.text().await.unwrap();
            assert!(text.starts_with(begin) && text.is_empty() == begin.is_empty(), "{text}");
        }
    }
    assert_eq!(simulator.counters().by_status[&418], 6);
}

#[tokio::test]
async fn retry_after_can_be_a_date() {
    let clock = Some("2026-10-21T07:27:30Z".parse().unwrap());
    let simulator = Running::with(SimulateConfig { clock, ..SimulateConfig::on_free_port() }).await;
    let rule = r#"{"fault":{"kind":"status","status":503,"retryAfterDate":60}}"#;
    simulator.add_fault(rule.parse::<Rule>().unwrap());
    let answer = simulator.get(PATH).await.unwrap();
    let date = answer.headers()["retry-after"].to_str().unwrap();
    assert_eq!(answer.headers().get_all("date").iter().count(), 1);
    assert!(answer.headers()["date"].to_str().unwrap().starts_with("Wed, 21 Oct 2026 07:27:"));
    assert!(date.starts_with("Wed, 21 Oct 2026 07:28:") && date.ends_with(" GMT"), "{date}");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_the_one_of_some_time_ago() {
    let simulator = Running::start().await;
    simulator.put_session(SessionScript::walking("1", 100.0)).unwrap();
    tokio::time::advance(Duration::from_secs(250)).await;
    let stale = |seconds| Rule { times: Some(1), ..Rule::from(Fault::Stale { seconds }) };
    simulator.add_fault(stale(100.0));
    simulator.add_fault(stale(1000.0));
    for status in ["waiting", "notStarted", "active"] {
        assert_eq!(simulator.json("/sessions/1").await["status"], status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_comes_late() {
    let simulator = Running::start().await;
    simulator.add_fault(Rule { delay: 3.0, times: Some(1), ..Rule::default() });
    let started = Instant::now();
    simulator.text(PATH).await;
    assert!(started.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn a_hanging_answer_never_comes_and_counts_as_cancelled() {
    let simulator = Running::start().await;
    simulator.add_fault(Fault::Hang);
    let asking = simulator.client.get(format!("{}{PATH}", simulator.rest_url)).bearer_auth("t");
    let asking = tokio::spawn(asking.send());
    simulator.until(|counters| counters.in_flight == 1).await;
    asking.abort();
    simulator.until(|counters| counters.cancelled == 1 && counters.in_flight == 0).await;
}

#[tokio::test]
async fn rules_are_about_the_requests_they_name() {
    let simulator = Running::start().await;
    let gone = || r#"{"fault":{"kind":"status","status":410}}"#.parse::<Rule>().unwrap();
    simulator.add_fault(Rule { session_id: Some("250040303".into()), ..gone() });
    simulator.add_fault(Rule { credential: Some("t1".into()), ..gone() });
    simulator.add_fault(Rule { route: Route::SystemLinks, ..gone() });
    let token = simulator.add_fault(Rule { route: Route::Token, ..gone() });
    assert_eq!(simulator.status("t2", PATH).await, 200);
    assert_eq!(simulator.status("t2", "/sessions/250040303").await, 410);
    assert_eq!(simulator.status("t1", PATH).await, 410);
    assert_eq!(simulator.status("t2", "/systemLinks?systemDomain=x").await, 410);
    let refresh =
        || simulator.client.post(&simulator.token_url).basic_auth("a", Some("b")).body("");
    assert_eq!(refresh().send().await.unwrap().status(), 410);
    assert!(simulator.delete_fault(token));
    assert_eq!(refresh().send().await.unwrap().status(), 400);
}

#[tokio::test(start_paused = true)]
async fn a_rule_can_end_after_a_time() {
    let simulator = Running::start().await;
    simulator.add_fault(Rule { for_seconds: Some(300.0), ..Rule::from(Fault::NoContent) });
    assert_eq!(simulator.status("t", PATH).await, 204);
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(simulator.status("t", PATH).await, 200);
}

#[tokio::test]
async fn chance_is_reproducible() {
    let struck = async |seed| {
        let config = SimulateConfig { seed, ..SimulateConfig::on_free_port() };
        let simulator = Running::with(config).await;
        simulator.add_fault(Rule { probability: Some(0.5), ..Rule::from(Fault::NoContent) });
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(simulator.status("t", PATH).await);
        }
        statuses
    };
    let first = struck(1).await;
    assert_eq!(first, struck(1).await);
    assert_ne!(first, struck(2).await);
}

#[tokio::test]
async fn over_http_2_a_broken_answer_is_a_reset_stream() {
    let simulator = Running::start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("{}{PATH}", simulator.rest_url);
    let get = || client.get(&url).bearer_auth("t").send();
    let answer = get().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert!(answer.text().await.unwrap().ends_with('}'));
    simulator.add_fault(Rule { times: Some(1), ..Rule::from(Fault::HalfBody) });
    // The reset may arrive before the headers.
    if let Ok(answer) = get().await {
        assert!(answer.text().await.is_err());
    }
    assert!(get().await.unwrap().text().await.unwrap().ends_with('}'));
    assert_eq!(simulator.counters().faults, 1);
}

#[tokio::test]
async fn without_a_socket_a_broken_answer_is_a_broken_body() {
    use tower::ServiceExt;

    let simulator = Running::start().await;
    simulator.add_fault(Rule { times: Some(1), ..Rule::from(Fault::Reset) });
    let ask = async || {
        let request = http::Request::get("/G2A/rest/v1/sessions/250040304")
            .header("authorization", "Bearer t")
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = router(&simulator).oneshot(request).await.unwrap();
        axum::body::to_bytes(answer.into_body(), 1 << 20).await
    };
    assert!(ask().await.is_err());
    assert!(ask().await.unwrap().ends_with(b"}"));
}
