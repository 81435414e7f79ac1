//! The ends of a stream: half-close, cancellation, deadline, drain, rotation, a refused credential
//! and a slow client.

use std::time::Duration;

use gotoassist_grpc::{proto::watch_session_response::EventType, wire::Kind};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::{
    desk::{Desk, Told},
    resumed,
};
use crate::{
    kit::{reason, request::authorized},
    watch::world::{End, Server, Trick, Vendor},
};

/// A world with some sessions that go on.
fn vendor(count: usize) -> (std::sync::Arc<Vendor>, Vec<String>) {
    let vendor = Vendor::new();
    let ids: Vec<_> = (0..count).map(|number| format!("s{number}")).collect();
    for id in &ids {
        vendor.life(id, &[(0, "waiting"), (500, "active")]);
    }
    (vendor, ids)
}

async fn open(server: &Server, ids: &[String]) -> Desk {
    let mut desk = Desk::open(server).await;
    desk.add(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for _ in ids {
        desk.update().await;
    }
    desk
}

/// Everything of the server has ended.
async fn check_empty(server: &Server) {
    sleep(Duration::from_secs(5)).await;
    assert_eq!(server.service.watches.count(), 0);
    let polls = server.service.feed.overview();
    assert!(polls.is_empty(), "{} polls", polls.len());
}

#[tokio::test(start_paused = true)]
async fn a_closed_side_without_a_session_is_ok_at_once() {
    let (vendor, _) = vendor(0);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.close();
    assert_eq!(desk.any().await.unwrap_err().code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_leaves_nothing_behind() {
    let (vendor, ids) = vendor(100);
    let server = Server::new(&vendor);
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let desk = open(&server, &ids).await;
    assert_eq!(server.service.watches.count(), 100);
    drop(desk);
    check_empty(&server).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);

    // Some are being read, and some wait for their turn.
    for id in &ids {
        vendor.play(id, [Trick::Slow(Duration::from_secs(10))]);
    }
    let mut desk = Desk::open(&server).await;
    desk.add(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(timeout(Duration::from_secs(1), desk.next()).await.is_err());
    assert_eq!(server.service.watches.count(), 100);
    drop(desk);
    check_empty(&server).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_stream_with_a_heartbeat_before() {
    let (vendor, ids) = vendor(1);
    let start = Instant::now();
    let mut desk = Desk::open_with(&Server::new(&vendor), |stream| {
        let mut request = authorized("t", stream);
        request.set_timeout(Duration::from_secs(40));
        request
    })
    .await
    .unwrap();
    desk.add(&[&ids[0]]).await;
    desk.update().await;
    let mut heartbeats = Vec::new();
    let end = loop {
        match desk.any().await {
            Ok(Told::Heartbeat(_)) => heartbeats.push(start.elapsed().as_millis()),
            Ok(other) => panic!("{other:?}"),
            Err(end) => break end,
        }
    };
    assert_eq!(heartbeats, [30_000, 39_500]);
    assert_eq!(end.code(), Code::DeadlineExceeded);
    assert_eq!(start.elapsed(), Duration::from_secs(40));
}

#[tokio::test(start_paused = true)]
async fn a_stream_rotates_with_a_last_heartbeat() {
    let (vendor, ids) = vendor(3);
    let server = Server::with(&vendor, |_, watches| watches.max_age = Duration::from_secs(100));
    let start = Instant::now();
    let mut desk = open(&server, &ids).await;
    let mut last = None;
    let end = loop {
        match desk.any().await {
            Ok(told) => last = Some((told, Instant::now())),
            Err(end) => break end,
        }
    };
    let Some((Told::Heartbeat(heartbeat), at)) = last else { panic!("a heartbeat is last") };
    assert_eq!((heartbeat.session_count, at), (3, Instant::now()));
    assert_eq!((end.code(), end.reason().as_str()), (Code::Unavailable, "STREAM_ROTATED"));
    assert!((90..=110).contains(&start.elapsed().as_secs()));
    check_empty(&server).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_stream_with_a_last_heartbeat_and_it_goes_on_elsewhere() {
    let (vendor, ids) = vendor(200);
    let server = Server::new(&vendor);
    let mut desk = Desk::open(&server).await;
    desk.add(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut tokens = Vec::new();
    for _ in &ids {
        let (session, update) = desk.update().await;
        tokens.push(resumed(&session, &update.resume_token));
    }
    sleep(Duration::from_secs(1)).await;
    server.service.watches.drain();
    let Ok(Told::Heartbeat(heartbeat)) = desk.any().await else { panic!("a heartbeat") };
    assert_eq!(heartbeat.session_count, 200);
    let End::Error(end) = desk.any().await.unwrap_err() else { panic!("an error") };
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "SERVER_DRAINING"));
    let refused = Desk::open_as(&server, "t").await.err().unwrap();
    assert_eq!(reason(&refused), "SERVER_DRAINING");
    check_empty(&server).await;

    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add_all(tokens).await;
    for id in &ids {
        let (session, update) = desk.update().await;
        assert_eq!((&session, update.event_type()), (id, EventType::Heartbeat));
    }
    for _ in &ids {
        assert_eq!(desk.update().await.1.event_type(), EventType::Changed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_ends_every_session_and_the_stream_with_the_same_status() {
    for (kind, code, expected) in [
        (Kind::CredentialRejected, Code::Unauthenticated, "CREDENTIAL_REJECTED"),
        (Kind::NoSeat, Code::PermissionDenied, "NO_REMOTE_SUPPORT_SEAT"),
    ] {
        let (vendor, ids) = vendor(100);
        let server = Server::new(&vendor);
        let mut desk = open(&server, &ids).await;
        let mut other = Desk::open_as(&server, "other").await.unwrap();
        other.add(&["s50"]).await;
        other.update().await;
        // One more waits for its first answer.
        vendor.life("late", &[(0, "waiting")]);
        vendor.play("late", [Trick::Slow(Duration::from_secs(20))]);
        desk.add(&["late"]).await;
        vendor.play("s7", [Trick::Fail(kind)]);
        let (messages, end) = desk.rest().await;
        let ended: Vec<_> = messages
            .iter()
            .map(|told| match told {
                Told::Ended(session, status) => {
                    assert_eq!((status.code(), reason(status).as_str()), (code, expected));
                    session.clone()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ended, [&ids[..], &["late".to_owned()]].concat());
        assert_eq!((end.code(), end.reason().as_str()), (code, expected));
        assert_eq!(other.update().await.1.event_type(), EventType::Changed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_refused_at_once_ends_the_stream_too() {
    let (vendor, _) = vendor(2);
    vendor.play("s0", [Trick::Fail(Kind::CredentialRejected)]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add(&["s0", "s1"]).await;
    let (messages, end) = desk.rest().await;
    let sessions: Vec<_> = messages.iter().map(Told::session).collect();
    assert_eq!(sessions, ["s0", "s1"]);
    assert_eq!(end.code(), Code::Unauthenticated);
}
