//! A client over a limit gets an error at once, and other clients are not affected.

use std::time::Instant;

use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::{LIMIT, Serve, binary, reason, run, session, signed, soon, watch};
use crate::kit::stub::{Step, Stub, ok};

#[tokio::test]
async fn one_call_too_many_is_shed_at_once_and_health_still_answers() {
    let vendor = Stub::always(vec![Step::Hang]).await;
    let url = vendor.url().to_string();
    let serve = Serve::start(&["--upstream-url", &url, "--max-calls", "1"]).await;
    let (mut client, mut other) = (serve.client().await, serve.client().await);
    let first =
        tokio::spawn(async move { client.get_session(signed(session("1"), "Bearer a")).await });
    vendor.until_requests(1).await;

    let start = Instant::now();
    let shed = other.get_session(signed(session("2"), "Bearer b")).await.unwrap_err();
    assert_eq!((shed.code(), reason(&shed).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(shed.metadata().contains_key("grpc-retry-pushback-ms"), "{shed:?}");
    assert!(shed.get_details_retry_info().is_some(), "{shed:?}");
    assert!(start.elapsed() < LIMIT / 4, "{:?}", start.elapsed());
    assert_eq!(vendor.requests(), 1);

    let server = Channel::from_shared(serve.url()).unwrap();
    let asked = HealthCheckRequest { service: String::new() };
    HealthClient::new(server.connect().await.unwrap()).check(asked).await.unwrap();
    first.abort();
    drop(first.await);
    serve.stop().await;
}

#[tokio::test]
async fn one_callers_watches_are_bounded_and_anothers_are_not_touched() {
    let vendor = Stub::always(ok(r#"{"status":"active"}"#)).await;
    let url = vendor.url().to_string();
    let serve = Serve::start(&["--upstream-url", &url, "--max-watches-per-caller", "1"]).await;
    let mut client = serve.client().await;
    let first = client.watch_session(signed(watch("1"), "Bearer a")).await.unwrap();
    let full = client.watch_session(signed(watch("2"), "Bearer a")).await.unwrap_err();
    assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    client.watch_session(signed(watch("2"), "Bearer b")).await.unwrap();
    drop(first);
    let again =
        async { while client.watch_session(signed(watch("1"), "Bearer a")).await.is_err() {} };
    soon(again).await;
    serve.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_with_a_reason() {
    let serve = Serve::start(&["--upstream-url", "http://127.0.0.1:9"]).await;
    let mut client = serve.client().await;
    let large = session(&"x".repeat(65 * 1024));
    let refused = client.get_session(signed(large, "Bearer a")).await.unwrap_err();
    let told = (refused.code(), reason(&refused));
    assert_eq!(told, (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()));
    serve.stop().await;
}

#[tokio::test]
async fn the_number_of_worker_threads_can_be_set() {
    let workers = |serve: &Serve| serve.threads().iter().filter(|name| *name == "worker").count();
    let serve = Serve::start(&["--workers=3"]).await;
    assert_eq!(workers(&serve), 3, "{:?}", serve.threads());
    serve.stop().await;
    // The process may use only the first of its cores.
    let first = "taskset -cp $$ | sed 's/.*: //; s/[-,].*//'";
    let one = Serve::start_after(&format!("taskset -cp \"$({first})\" $$ >/dev/null"), &[]).await;
    assert_eq!(workers(&one), 1, "{:?}", one.threads());
    one.stop().await;
    for wrong in ["0", "1025", "many"] {
        let (status, _, stderr) = run(binary(&["serve", "--check", "--workers", wrong])).await;
        assert_eq!(status, 2, "{stderr}");
    }
}
