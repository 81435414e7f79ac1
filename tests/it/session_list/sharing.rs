//! Which lists share a request, and what they cost.

use std::time::Duration;

use futures_util::future::join_all;
use gotoassist_grpc::proto::{ListSessionsRequest, SessionStatus};
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::{in_front_of, list};
use crate::kit::{
    harness::Harness,
    reason,
    request::{authorized, session},
    soon,
    stub::{Step, Stub, ok},
};

/// An answer that takes a while.
async fn slow() -> Stub {
    let mut steps = vec![Step::Wait(Duration::from_millis(500))];
    steps.extend(ok(r#"{"sessions":[{"sessionId":1}]}"#));
    Stub::always(steps).await
}

#[tokio::test]
async fn identical_lists_of_one_caller_share_a_request() {
    let stub = slow().await;
    let harness = in_front_of(&stub, &[]).await;
    let requests = (0..50).map(|_| list(&harness, ListSessionsRequest::default()));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().sessions.len(), 1);
    }
    assert_eq!(stub.requests(), 1);
    list(&harness, ListSessionsRequest::default()).await.unwrap();
    assert_eq!(stub.requests(), 2, "nothing is kept");
}

#[tokio::test]
async fn other_lists_and_other_credentials_share_nothing() {
    let stub = slow().await;
    let harness = in_front_of(&stub, &[]).await;
    let plain = ListSessionsRequest::default();
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let requests = [
        ("a", plain.clone()),
        ("b", plain.clone()),
        ("a", ListSessionsRequest { page_size: 5, ..plain.clone() }),
        (
            "a",
            ListSessionsRequest { statuses: vec![SessionStatus::Active.into()], ..plain.clone() },
        ),
        ("a", ListSessionsRequest { from_time: time(1), ..plain.clone() }),
        ("a", ListSessionsRequest { from_time: time(1), to_time: time(2), ..plain }),
    ];
    let count = requests.len();
    let calls = requests.map(|(token, request)| {
        let mut client = harness.client();
        async move { client.list_sessions(authorized(token, request)).await.unwrap() }
    });
    soon(join_all(calls)).await;
    assert_eq!(stub.requests(), count);
    let of = |token: &str| {
        let line = format!("authorization: Bearer {token}\r\n");
        stub.heads().iter().filter(|head| head.contains(&line)).count()
    };
    assert_eq!((of("a"), of("b")), (count - 1, 1));
}

#[tokio::test]
async fn the_last_caller_who_leaves_cancels_the_request() {
    let stub = Stub::always(vec![Step::Hang]).await;
    let harness = in_front_of(&stub, &[]).await;
    let call = || async {
        let call = list(&harness, ListSessionsRequest::default());
        timeout(Duration::from_millis(500), call).await.unwrap_err();
    };
    tokio::join!(call(), call());
    soon(stub.until_hangups(1)).await;
    assert_eq!(stub.requests(), 1);
}

#[tokio::test]
async fn a_list_passes_the_quota_with_its_deadline() {
    let harness = Harness::with(&["--upstream-rps=2", "--upstream-burst=1"]).await;
    let began_at = Instant::now();
    for page_size in 1..=4 {
        let request = ListSessionsRequest { page_size, ..ListSessionsRequest::default() };
        list(&harness, request).await.unwrap();
    }
    assert!(began_at.elapsed() >= Duration::from_millis(1_400), "{:?}", began_at.elapsed());

    let mut request = authorized("t", ListSessionsRequest::default());
    request.set_timeout(Duration::from_millis(100));
    let status = soon(harness.client().list_sessions(request)).await.unwrap_err();
    let expected = (Code::ResourceExhausted, "QUOTA_EXHAUSTED".to_owned());
    assert_eq!((status.code(), reason(&status)), expected);
}

#[tokio::test]
async fn a_list_that_fails_opens_no_circuit_of_a_session() {
    let stub = Stub::scripted(|_, head| {
        if head.contains("sessionType") { vec![Step::Reset] } else { ok(r#"{"sessionId":"1"}"#) }
    });
    let stub = stub.await;
    let harness = in_front_of(&stub, &[]).await;
    for page_size in 1..20 {
        let request = ListSessionsRequest { page_size, ..ListSessionsRequest::default() };
        let status = list(&harness, request).await.unwrap_err();
        assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "UPSTREAM_UNAVAILABLE"));
    }
    assert_eq!(stub.requests(), 5, "the circuit of the list is open");
    soon(harness.client().get_session(authorized("t", session("1")))).await.unwrap();
}
