//! Which failures are retried, and how often. No retry is later than the deadline.

use std::{pin::pin, time::Duration};

use gotoassist_grpc::{
    trace::Cause,
    traffic::{Hint, RequestContext, Urgency},
    wire::Kind,
};
use tokio::time::Instant;

use super::{caller, client, client_with, id, terms};
use crate::kit::stub::{SESSION, Step, Stub, answer, ok};

fn within(time: Duration) -> RequestContext {
    RequestContext { deadline: Some(Instant::now() + time), ..RequestContext::default() }
}

/// A stub whose first `times` answers are `failure`. After that it answers with a session, or with
/// an empty list of links.
async fn failing(times: usize, failure: Vec<Step>) -> Stub {
    Stub::scripted(move |number, head| {
        let body = if head.contains("/systemLinks") { "[]" } else { SESSION };
        if number < times { failure.clone() } else { ok(body) }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn resets_and_502_503_504_are_tried_again() {
    for failure in [
        vec![Step::Reset],
        vec![Step::Close],
        vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()), Step::Close],
        answer("502 x", &[], ""),
        answer("503 x", &[], ""),
        answer("504 x", &[], ""),
    ] {
        let stub = failing(2, failure).await;
        client(&stub).session(&caller(), &id("1"), terms()).await.unwrap();
        assert_eq!(stub.requests(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_else_is_tried_again() {
    for status in [301, 400, 401, 403, 404, 405, 408, 409, 412, 418, 429, 500, 501] {
        let stub = Stub::always(answer(&format!("{status} x"), &[], "")).await;
        client(&stub).session(&caller(), &id("1"), terms()).await.unwrap_err();
        assert_eq!(stub.requests(), 1, "{status}");
    }
    let stub = Stub::always(ok("<html>")).await;
    client(&stub).session(&caller(), &id("1"), terms()).await.unwrap_err();
    assert_eq!(stub.requests(), 1);
    let stub = Stub::always(vec![Step::Hang]).await;
    let error = client(&stub).session(&caller(), &id("1"), terms()).await.unwrap_err();
    assert_eq!((error.kind, stub.requests()), (Kind::Timeout, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_connect_is_tried_again() {
    let stub = Stub::always(vec![]).await;
    let url = stub.url();
    let client = client(&stub);
    stub.stop().await;
    let (caller, id) = (caller(), id("1"));
    let mut call = pin!(client.session(&caller, &id, within(Duration::from_secs(20))));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut call).await.is_err());
    let _stub = Stub::at(url.socket_addrs(|| None).unwrap()[0], |_, _| ok(SESSION)).await;
    call.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attempts_end_after_the_limit_with_the_vendors_own_error() {
    let stub = Stub::always(answer("503 x", &["retry-after: 1"], "")).await;
    let client = client_with(&stub, |config| config.retries = 2);
    let error = client.session(&caller(), &id("1"), terms()).await.unwrap_err();
    assert_eq!((error.kind, error.http_status), (Kind::Unavailable, Some(503)));
    assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(stub.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_429_is_tried_again_only_when_its_retry_after_fits_the_deadline() {
    for (headers, deadline, requests) in [
        (&["retry-after: 3"][..], 5, 2),
        (&["retry-after: 3"], 2, 1),
        (&["retry-after: 86400"], 5, 1),
        (&["retry-after: soon"], 5, 1),
        (&[], 5, 1),
    ] {
        let stub = failing(1, answer("429 Rate limit quota", headers, "")).await;
        let began_at = Instant::now();
        let terms = within(Duration::from_secs(deadline));
        let outcome = client(&stub).session(&caller(), &id("1"), terms).await;
        assert_eq!((outcome.is_ok(), stub.requests()), (requests == 2, requests), "{headers:?}");
        let waited = if requests == 2 { 3 } else { 0 };
        assert_eq!(began_at.elapsed().as_secs(), waited, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_retry_goes_past_the_deadline() {
    let stub = Stub::always(answer("503 x", &[], "")).await;
    let client = client_with(&stub, |config| {
        config.retries = 1_000;
        config.breaker_failures = 0;
    });
    let began_at = Instant::now();
    let terms = within(Duration::from_secs(1));
    let error = client.session(&caller(), &id("1"), terms).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(began_at.elapsed() < Duration::from_secs(1));
    assert!(stub.requests() >= 2);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_call_that_hangs() {
    let stub = Stub::always(vec![Step::Hang]).await;
    let began_at = Instant::now();
    let terms = within(Duration::from_millis(700));
    let error = client(&stub).session(&caller(), &id("1"), terms).await.unwrap_err();
    assert_eq!(error.kind, Kind::DeadlineExceeded);
    assert_eq!(began_at.elapsed().as_millis(), 700);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_over_already_asks_nobody() {
    let stub = Stub::always(ok(SESSION)).await;
    let terms = RequestContext { deadline: Some(Instant::now()), ..RequestContext::default() };
    let error = client(&stub).session(&caller(), &id("1"), terms).await.unwrap_err();
    assert_eq!((error.kind, stub.connections()), (Kind::DeadlineExceeded, 0));
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_a_single_attempt() {
    let stub = failing(1, answer("503 x", &[], "")).await;
    let urgency = Urgency { since: Instant::now(), weight: 1.0, hint: Hint::default() };
    let error = client(&stub)
        .poll_session(&caller(), &id("1"), urgency, &Cause::default())
        .await
        .unwrap_err();
    assert_eq!((error.kind, stub.requests()), (Kind::Unavailable, 1));
}

#[tokio::test(start_paused = true)]
async fn retries_of_all_calls_together_stay_within_the_budget() {
    let stub = Stub::always(answer("503 x", &[], "")).await;
    let client = client_with(&stub, |config| config.breaker_failures = 0);
    for number in 0..100 {
        client.session(&caller(), &id(&number.to_string()), terms()).await.unwrap_err();
    }
    let retries = stub.requests() - 100;
    assert!((20..=60).contains(&retries), "{retries}");
}

#[tokio::test(start_paused = true)]
async fn links_are_tried_again_too() {
    let stub = failing(1, vec![Step::Reset]).await;
    let domain = "example.com".parse().unwrap();
    let answer = client(&stub).system_links(&caller(), &domain, terms()).await.unwrap();
    assert_eq!((answer.content.len(), stub.requests()), (0, 2));
}
