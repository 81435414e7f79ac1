//! The heartbeat of a stream, and STALE.

use std::time::Duration;

use gotoassist_grpc::{
    proto::{
        WatchSessionRequest, WatchSessionsRequest,
        watch_session_response::EventType,
        watch_sessions_request::{Action, Add},
    },
    wire::Kind,
};
use tokio::time::Instant;
use tonic::Code;

use super::desk::{Desk, Told};
use crate::{
    kit::request,
    watch::world::{Server, Trick, Vendor, second},
};

fn every(seconds: i64, sessions: Vec<WatchSessionRequest>) -> WatchSessionsRequest {
    let heartbeat_interval = Some(prost_types::Duration { seconds, nanos: 0 });
    WatchSessionsRequest {
        action: Some(Action::Add(Add { sessions, heartbeat_interval, ..Add::default() })),
    }
}

#[tokio::test(start_paused = true)]
async fn one_heartbeat_for_all_sessions_tells_how_fresh_they_are() {
    let vendor = Vendor::new();
    vendor.life("often", &[(0, "waiting")]);
    vendor.life("seldom", &[(0, "complete")]);
    let start = Instant::now();
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    let follow = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    desk.send(every(
        10,
        vec![
            request::watch("often"),
            WatchSessionRequest { follow_after_end: follow, ..request::watch("seldom") },
        ],
    ))
    .await;
    desk.update().await;
    desk.update().await;
    for number in 1..=5 {
        let Ok(Told::Heartbeat(heartbeat)) = desk.any().await else { panic!("a heartbeat") };
        assert_eq!(start.elapsed().as_secs(), 10 * number);
        assert_eq!(heartbeat.session_count, 2);
        // A session that is over is polled once a minute.
        let oldest = heartbeat.oldest_observed_at.unwrap();
        assert_eq!(oldest.seconds, second(0).seconds, "after {number}");
    }
    desk.remove(&["seldom"]).await;
    let Ok(Told::Heartbeat(heartbeat)) = desk.any().await else { panic!("a heartbeat") };
    assert_eq!(heartbeat.session_count, 1);
    assert!(heartbeat.oldest_observed_at.unwrap().seconds >= second(56).seconds);
}

#[tokio::test(start_paused = true)]
async fn only_the_first_add_sets_the_interval() {
    let vendor = Vendor::new();
    let start = Instant::now();
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    let heartbeat = desk.heartbeat().await;
    assert_eq!(start.elapsed(), Duration::from_secs(30), "the default");
    assert_eq!((heartbeat.session_count, heartbeat.oldest_observed_at), (0, None));
    desk.send(every(1, vec![])).await;
    let start = Instant::now();
    desk.heartbeat().await;
    assert_eq!(start.elapsed(), Duration::from_secs(5), "the shortest");
    desk.send(every(60, vec![])).await;
    desk.heartbeat().await;
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    desk.send(every(-1, vec![])).await;
    let end = desk.next().await.unwrap_err();
    assert_eq!((end.code(), end.reason().as_str()), (Code::InvalidArgument, "ARGUMENT_INVALID"));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_while_sessions_wait_for_their_first_answer() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting")]);
    vendor.play("s", [Trick::Slow(Duration::from_secs(25))]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.send(every(10, vec![request::watch("s")])).await;
    for _ in 0..2 {
        let Ok(Told::Heartbeat(heartbeat)) = desk.any().await else { panic!("a heartbeat") };
        assert_eq!((heartbeat.session_count, heartbeat.oldest_observed_at), (1, None));
    }
    assert_eq!(desk.update().await.1.event_type(), EventType::Snapshot);
}

#[tokio::test(start_paused = true)]
async fn stale_is_repeated_at_each_heartbeat_and_recovery_is_told() {
    let vendor = Vendor::new();
    vendor.life("ill", &[(0, "active")]);
    vendor.life("well", &[(0, "active")]);
    let start = Instant::now();
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.send(every(30, vec![request::watch("ill"), request::watch("well")])).await;
    desk.update().await;
    desk.update().await;
    vendor.play("ill", vec![Trick::Fail(Kind::Unavailable); 50]);
    let mut stale = Vec::new();
    loop {
        let (session, update) = desk.update().await;
        assert_eq!(session, "ill");
        match update.event_type() {
            EventType::Stale => {
                assert_eq!(update.stale_cause.unwrap().code, Code::Unavailable as i32);
                stale.push(start.elapsed().as_secs());
            }
            kind => {
                assert_eq!(kind, EventType::Heartbeat, "recovery");
                break;
            }
        }
    }
    // Fifty failures, at last three seconds apart, take about 150 s.
    assert!(stale[0] < 20, "{stale:?}");
    assert!(stale.len() >= 4 && stale[1..].iter().all(|at| at % 30 == 0), "{stale:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_is_too_long_ends_the_session_and_not_the_stream() {
    let vendor = Vendor::new();
    vendor.life("ill", &[(0, "active")]);
    vendor.life("well", &[(0, "active"), (3000, "complete")]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add(&["ill", "well"]).await;
    desk.update().await;
    desk.update().await;
    vendor.play("ill", vec![Trick::Fail(Kind::Timeout); 1000]);
    let status = loop {
        match desk.next().await.unwrap() {
            Told::Ended(session, status) => {
                assert_eq!(session, "ill");
                break status;
            }
            Told::Update(session, update) => {
                assert_eq!((session.as_str(), update.event_type()), ("ill", EventType::Stale));
            }
            Told::Heartbeat(_) => unreachable!("left out"),
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    let (session, update) = desk.update().await;
    assert!(session == "well" && update.terminal);
}
