//! The limits on streams and on their sessions.

use gotoassist_grpc::proto::watch_session_response::EventType;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::desk::Desk;
use crate::{
    kit::{reason, request},
    watch::world::{Server, Vendor},
};

fn subject(status: &Status) -> String {
    assert_eq!((status.code(), reason(status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(status.get_details_retry_info().is_some());
    status.get_details_quota_failure().unwrap().violations[0].subject.clone()
}

fn vendor() -> std::sync::Arc<Vendor> {
    let vendor = Vendor::new();
    for id in ["1", "2", "3", "4"] {
        vendor.life(id, &[(0, "waiting")]);
    }
    vendor
}

#[tokio::test(start_paused = true)]
async fn a_session_over_the_limit_of_its_stream_is_refused_and_the_rest_goes_on() {
    let server = Server::with(&vendor(), |_, watches| watches.max_per_stream = 2);
    let mut desk = Desk::open(&server).await;
    desk.add(&["1", "2", "3"]).await;
    let (session, status) = desk.ended().await;
    assert_eq!((session.as_str(), subject(&status).as_str()), ("3", "watches of one stream"));
    assert_eq!(desk.update().await.0, "1");
    assert_eq!(desk.update().await.0, "2");
    desk.remove(&["1"]).await;
    desk.add(&["3"]).await;
    let (session, update) = desk.update().await;
    assert_eq!((session.as_str(), update.event_type()), ("3", EventType::Snapshot));
}

#[tokio::test(start_paused = true)]
async fn sessions_on_streams_count_as_watches() {
    let server = Server::with(&vendor(), |_, watches| {
        watches.max_watches = 3;
        watches.max_per_caller = 2;
    });
    let mut desk = Desk::open(&server).await;
    desk.add(&["1", "2", "3"]).await;
    let (session, status) = desk.ended().await;
    assert_eq!((session.as_str(), subject(&status).as_str()), ("3", "watches of one caller"));
    desk.update().await;
    desk.update().await;
    let status = server.watch_with(request::watch("3")).await.err().unwrap();
    assert_eq!(subject(&status), "watches of one caller");

    let mut other = Desk::open_as(&server, "other").await.unwrap();
    other.add(&["1", "2"]).await;
    let (session, status) = other.ended().await;
    assert_eq!((session.as_str(), subject(&status).as_str()), ("2", "watches of one server"));
    assert_eq!(other.update().await.0, "1");
    assert_eq!(server.service.watches.count(), 3);
    drop((desk, other));
    tokio::task::yield_now().await;
    assert_eq!(server.service.watches.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_a_limit_is_refused_before_its_headers() {
    let server = Server::with(&vendor(), |_, watches| {
        watches.max_streams = 2;
        watches.max_streams_per_caller = 1;
    });
    let first = Desk::open(&server).await;
    let refused = Desk::open_as(&server, "t").await.err().unwrap();
    assert_eq!(subject(&refused), "streams of one caller");
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
    let second = Desk::open_as(&server, "other").await.unwrap();
    let refused = Desk::open_as(&server, "third").await.err().unwrap();
    assert_eq!(subject(&refused), "streams of one server");
    drop((first, second));
    tokio::task::yield_now().await;
    Desk::open_as(&server, "third").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_credential_there_is_no_stream() {
    let server = Server::new(&vendor());
    let refused = Desk::open_with(&server, tonic::Request::new).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(reason(&refused), "CREDENTIAL_MISSING");
}
