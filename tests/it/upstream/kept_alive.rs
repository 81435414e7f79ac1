//! Reused connections. The vendor may close a connection while the next request is on its way.

use std::time::Duration;

use gotoassist_grpc::{
    trace::Cause,
    traffic::{Client, Hint, RequestContext, Urgency},
    wire::{ConnectionFailure, Error, Kind},
};
use tokio::time::Instant;

use super::{caller, client_with, id, terms};
use crate::kit::stub::{SESSION, Step, Stub, ok};

/// A vendor that ends each connection with `end` in place of a second answer.
async fn closing(end: Step) -> Stub {
    Stub::by_connection(move |nth| if nth == 0 { ok(SESSION) } else { vec![end.clone()] }).await
}

/// A client that does not retry, and counts the vendor as down after one failure.
fn strict(stub: &Stub) -> Client {
    client_with(stub, |config| {
        config.retries = 0;
        config.breaker_failures = 1;
    })
}

async fn call(client: &Client) -> Result<(), Error> {
    client.session(&caller(), &id("1"), terms()).await.map(drop)
}

async fn poll(client: &Client) -> Result<(), Error> {
    let urgency = Urgency { since: Instant::now(), weight: 1.0, hint: Hint::default() };
    client.poll_session(&caller(), &id("1"), urgency, &Cause::default()).await.map(drop)
}

#[tokio::test]
async fn a_kept_alive_connection_that_closes_fails_no_call_and_no_poll() {
    for end in [Step::Close, Step::Reset] {
        let stub = closing(end).await;
        let client = strict(&stub);
        for _ in 0..20 {
            call(&client).await.unwrap();
            poll(&client).await.unwrap();
        }
        assert!(stub.requests() > 40, "some were sent twice");
        assert_eq!(client.stats().requests(), stub.requests() as u64);
        assert_eq!(client.stats().failed(), 0);
    }
}

#[tokio::test]
async fn calls_at_the_same_time_are_sent_again_on_connections_of_their_own() {
    let stub = closing(Step::Reset).await;
    let client = strict(&stub);
    for _ in 0..5 {
        let ids: Vec<_> = (0..10).map(|number| id(&number.to_string())).collect();
        let caller = caller();
        let calls = ids.iter().map(|id| client.session(&caller, id, terms()));
        for outcome in futures_util::future::join_all(calls).await {
            outcome.unwrap();
        }
    }
}

#[tokio::test]
async fn a_new_connection_that_closes_is_a_failure_as_before() {
    for end in [Step::Close, Step::Reset] {
        let stub = Stub::always(vec![end]).await;
        let error = call(&strict(&stub)).await.unwrap_err();
        assert_eq!(error.connection, Some(ConnectionFailure::Reset));
        assert_eq!(stub.requests(), 1);
    }
}

#[tokio::test]
async fn the_second_request_is_the_last() {
    let stub =
        Stub::scripted(|number, _| if number == 0 { ok(SESSION) } else { vec![Step::Reset] });
    let stub = stub.await;
    let client = strict(&stub);
    call(&client).await.unwrap();
    let error = call(&client).await.unwrap_err();
    assert_eq!((error.kind, error.connection), (Kind::Unavailable, Some(ConnectionFailure::Reset)));
    assert_eq!(stub.requests(), 3);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_asked_for_again_at_once() {
    let half = || Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec());
    let stub = Stub::by_connection(
        move |nth| {
            if nth == 0 { ok(SESSION) } else { vec![half(), Step::Close] }
        },
    );
    let stub = stub.await;
    let client = strict(&stub);
    call(&client).await.unwrap();
    let error = call(&client).await.unwrap_err();
    assert_eq!(error.connection, Some(ConnectionFailure::Reset));
    assert_eq!(stub.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_quota_counts_the_second_request() {
    let stub = closing(Step::Reset).await;
    let client = client_with(&stub, |config| {
        (config.rps, config.burst, config.retries) = (1.0, 1, 0);
    });
    let began_at = Instant::now();
    call(&client).await.unwrap();
    call(&client).await.unwrap();
    assert_eq!(stub.requests(), 3);
    assert!(began_at.elapsed() >= Duration::from_secs(2), "{:?}", began_at.elapsed());

    call(&client).await.unwrap();
    let deadline = Some(Instant::now() + Duration::from_millis(1500));
    let short = RequestContext { deadline, ..RequestContext::default() };
    let error = client.session(&caller(), &id("1"), short).await.unwrap_err();
    let cause = error.connection.map(ConnectionFailure::name);
    assert_eq!((error.kind, cause), (Kind::Unavailable, Some("keep_alive_closed")));
}
