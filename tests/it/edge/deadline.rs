//! A call ends at its deadline with `DEADLINE_EXCEEDED`, at every stage.

use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt as _;

use super::{Edge, Settings, soon};

#[tokio::test]
async fn an_unanswered_call_ends_trailers_only_on_its_deadline() {
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    let answer = client.call("GetSession", "silent", &[("grpc-timeout", "120m")]).await.unwrap();

    let (status, trailers_only) = answer.status();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(trailers_only && answer.messages == 0 && answer.trailers.is_none());
    assert!(answer.took >= Duration::from_millis(120), "{:?}", answer.took);
    assert!(answer.took < Duration::from_secs(2), "{:?}", answer.took);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((&*info.reason, &*info.domain), ("DEADLINE_EXCEEDED", "remotesupport.gotoassist"));
}

#[tokio::test]
async fn four_hundred_calls_at_once_all_end_with_deadline_exceeded() {
    let edge = Edge::start(Settings::default()).await;
    let client = edge.client().await;
    let calls = (0..400).map(|n| {
        let mut client =
            super::Client { send: client.send.clone(), connection: tokio::spawn(async { Ok(()) }) };
        async move {
            let timeout = format!("{}m", n % 56 + 1);
            let headers = [("grpc-timeout", timeout.as_str())];
            client.call("GetSession", "silent", &headers).await.unwrap().status().0.code()
        }
    });
    let codes = soon(futures_util::future::join_all(calls)).await;
    assert_eq!(codes, [Code::DeadlineExceeded; 400]);
}

#[tokio::test]
async fn an_open_stream_ends_with_trailers_on_its_deadline() {
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    let answer = client.call("WatchSession", "open", &[("grpc-timeout", "220m")]).await.unwrap();

    let (status, trailers_only) = answer.status();
    assert_eq!((status.code(), trailers_only), (Code::DeadlineExceeded, false));
    assert_eq!(answer.messages, 1);
    assert!(answer.took >= Duration::from_millis(220), "{:?}", answer.took);
}

#[tokio::test]
async fn a_stream_that_never_pauses_ends_on_its_deadline_too() {
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    let answer = client.call("WatchSession", "busy", &[("grpc-timeout", "100m")]).await.unwrap();
    assert_eq!(answer.status().0.code(), Code::DeadlineExceeded);
    assert!(answer.messages > 1);
}

#[tokio::test]
async fn an_answer_in_time_stays_as_it_is() {
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    for (method, id, code) in [
        ("GetSession", "known", Code::Ok),
        ("GetSession", "missing", Code::NotFound),
        ("WatchSession", "short", Code::Ok),
    ] {
        let answer = client.call(method, id, &[("grpc-timeout", "10S")]).await.unwrap();
        assert_eq!(answer.status().0.code(), code, "{method} {id}");
    }
}

#[tokio::test]
async fn a_timeout_that_cannot_be_read_is_refused() {
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    let answer = client.call("GetSession", "known", &[("grpc-timeout", "soon")]).await.unwrap();
    let (status, trailers_only) = answer.status();
    assert_eq!((status.code(), trailers_only), (Code::InvalidArgument, true));
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "grpc-timeout");
}
