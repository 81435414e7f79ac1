//! Identical calls and polls that wait for quota.

use std::time::Duration;

use gotoassist_grpc::{
    credential::Credential,
    trace::Cause,
    traffic::{Client, RequestContext},
    wire::Kind,
};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    caller, client,
    credential::{service_client, token_endpoint},
    id,
    sharing::{SECOND, call, poll, urgency},
    terms,
};
use crate::kit::stub::{Stub, answer, ok};

/// A client without quota for a second, and two callers of the service's credential.
async fn two_callers(stub: &Stub, endpoint: &Stub) -> (Client, Credential, Credential) {
    let client = service_client(stub, endpoint, |config| {
        config.burst = 1;
        config.rps = 1.0;
    });
    let caller = |name: &str| {
        Credential::Service(Credential::from_authorization(&format!("Bearer {name}")).unwrap().id())
    };
    call(&client, caller("other"), id("other"), terms()).await.unwrap().unwrap();
    (client, caller("busy"), caller("quiet"))
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_in_the_place_of_another_caller() {
    let (stub, endpoint) = (Stub::always(ok(r#"{"sessionId":"1"}"#)).await, token_endpoint().await);
    let (client, busy, quiet) = two_callers(&stub, &endpoint).await;
    let began_at = Instant::now();
    let mut backlog: Vec<_> = (0..20)
        .map(|number| call(&client, busy.clone(), id(&format!("busy{number}")), terms()))
        .collect();
    backlog.push(call(&client, busy.clone(), id("1"), terms()));
    let poll = poll(&client, busy, id("1"));
    tokio::task::yield_now().await;
    let within =
        RequestContext { deadline: Some(began_at + SECOND * 5), ..RequestContext::default() };
    call(&client, quiet, id("1"), within).await.unwrap().unwrap();
    assert!(began_at.elapsed() < SECOND * 3, "{:?}", began_at.elapsed());
    // Every call that waits for the same session gets this answer, wherever it is in the queue.
    poll.await.unwrap().unwrap();
    backlog.pop().unwrap().await.unwrap().unwrap();
    assert!(began_at.elapsed() < SECOND * 3, "{:?}", began_at.elapsed());
    assert!(stub.requests() <= 4, "{}", stub.requests());
    backlog.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_its_place_in_the_queue_costs_the_next_nothing() {
    let (stub, endpoint) = (Stub::always(ok(r#"{"sessionId":"1"}"#)).await, token_endpoint().await);
    let (client, hasty, patient) = two_callers(&stub, &endpoint).await;
    let began_at = Instant::now();
    let calls: Vec<_> = [&hasty, &hasty, &patient]
        .map(|caller| call(&client, caller.clone(), id("1"), terms()))
        .into();
    tokio::task::yield_now().await;
    calls[0].abort();
    calls[1].abort();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.is_ok(), number == 2);
    }
    assert!(began_at.elapsed() <= SECOND + SECOND / 10, "{:?}", began_at.elapsed());
    assert_eq!(stub.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_told_of_a_long_pause_at_once() {
    let stub = Stub::always(answer("429 x", &["retry-after: 600"], "")).await;
    let client = client(&stub);
    assert_eq!(call(&client, caller(), id("1"), terms()).await.unwrap(), Err(Kind::RateLimited));
    let began_at = Instant::now();
    let error =
        client.poll_session(&caller(), &id("2"), urgency(), &Cause::default()).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (Kind::RateLimited, Some(SECOND * 600)));
    assert_eq!((began_at.elapsed(), stub.requests()), (Duration::ZERO, 1));
}
