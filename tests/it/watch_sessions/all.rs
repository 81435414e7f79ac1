//! `all`: the sessions of an account, found by the vendor's list.

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::{
    proto::{
        WatchSessionRequest, WatchSessionsRequest,
        watch_session_response::EventType,
        watch_sessions_request::{Action, Remove},
    },
    wire::Kind,
};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use super::{
    desk::{Desk, Told, add_all_since},
    resumed,
};
use crate::{
    kit::reason,
    watch::{
        until,
        world::{End, Listing, Server, Vendor, after_dawn},
    },
};

fn vendor() -> Arc<Vendor> {
    let vendor = Vendor::new();
    *vendor.lister.lock().unwrap() = Some(Box::new(Listing::default));
    vendor
}

fn refuse_list(vendor: &Vendor, kind: Kind) {
    let refused = move || Listing { failure: Some(kind), ..Listing::default() };
    *vendor.lister.lock().unwrap() = Some(Box::new(refused));
}

/// The time at this second of the world.
fn at(second: u64) -> prost_types::Timestamp {
    let time = after_dawn(Duration::from_secs(second));
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

fn all() -> WatchSessionsRequest {
    add_all_since(None, Vec::new())
}

async fn open(server: &Server, request: WatchSessionsRequest) -> Desk {
    let desk = Desk::open(server).await;
    desk.send(request).await;
    desk
}

/// The next update: its session, its type, and whether it is the last one of the session.
async fn next(desk: &mut Desk) -> (String, EventType, bool) {
    loop {
        match desk.next().await.unwrap() {
            Told::Update(session, update) => {
                return (session, update.event_type(), update.terminal);
            }
            Told::Ended(session, status) => {
                assert_eq!(status.code(), Code::Ok, "{session}: {status}");
            }
            Told::Heartbeat(_) => {}
        }
    }
}

/// The updates of so many sessions, in the order of their ids.
async fn some(desk: &mut Desk, count: usize) -> Vec<(String, EventType, bool)> {
    let mut updates = Vec::new();
    for _ in 0..count {
        updates.push(next(desk).await);
    }
    updates.sort();
    updates
}

async fn end_of_all(desk: &mut Desk) -> Status {
    let (session, status) = desk.ended().await;
    assert_eq!(session, "");
    status
}

fn update(session: &str, kind: EventType, is_last: bool) -> (String, EventType, bool) {
    (session.to_owned(), kind, is_last)
}

#[tokio::test(start_paused = true)]
async fn every_session_that_is_open_or_begins_is_told() {
    let vendor = vendor();
    vendor.life("new", &[(0, "notStarted"), (60, "waiting")]);
    vendor.life("open", &[(0, "waiting"), (30, "active")]);
    vendor.life("over", &[(0, "waiting"), (1, "abandoned")]);
    let (server, start) = (Server::new(&vendor), Instant::now());
    until(start, 5).await;
    let mut desk = open(&server, all()).await;
    let snapshot = |id, is_over| update(id, EventType::Snapshot, is_over);
    assert_eq!(some(&mut desk, 2).await, [snapshot("new", false), snapshot("open", false)]);
    assert!(start.elapsed() < Duration::from_secs(6), "the list is read at once");
    // Between two readings of the list.
    vendor.life("brief", &[(7, "waiting"), (7, "active"), (7, "complete")]);
    until(start, 8).await;
    assert_eq!(next(&mut desk).await, snapshot("brief", true));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(next(&mut desk).await, update("open", EventType::Changed, false));
    assert_eq!(next(&mut desk).await, update("new", EventType::Changed, false));
    assert_eq!(desk.heartbeat().await.session_count, 2);
    let more = timeout(Duration::from_mins(20), next(&mut desk)).await;
    assert!(more.is_err(), "nothing is told twice: {more:?}");
}

/// The client knows three sessions from an earlier stream. One is as it was, one has ended
/// meanwhile, and one had ended before. Another one has come and gone.
#[tokio::test(start_paused = true)]
async fn a_resumed_stream_repeats_nothing_and_loses_nothing() {
    let vendor = vendor();
    vendor.life("same", &[(0, "waiting")]);
    vendor.life("ends", &[(0, "waiting"), (70, "active"), (80, "complete")]);
    vendor.life("ended", &[(0, "active"), (20, "complete")]);
    let (server, start) = (Server::new(&vendor), Instant::now());
    let mut desk = open(&server, all()).await;
    let mut tokens = std::collections::HashMap::new();
    while !tokens.contains_key("ended") || start.elapsed() < Duration::from_secs(40) {
        if let Ok(Ok(Told::Update(session, update))) =
            timeout(Duration::from_secs(10), desk.any()).await
        {
            tokens.insert(session, update.resume_token);
        }
    }
    drop(desk);
    vendor.life("brief", &[(50, "waiting"), (55, "abandoned")]);
    until(start, 90).await;
    let known: Vec<WatchSessionRequest> =
        tokens.iter().map(|(session, token)| resumed(session, token)).collect();
    let other = Server::new(&vendor);
    let mut desk = open(&other, add_all_since(Some(at(10)), known)).await;
    let told = some(&mut desk, 4).await;
    let expected = [
        update("brief", EventType::Snapshot, true),
        update("ended", EventType::Heartbeat, true),
        update("ends", EventType::Changed, true),
        update("same", EventType::Heartbeat, false),
    ];
    assert_eq!(told, expected);
    let more = timeout(Duration::from_mins(20), next(&mut desk)).await;
    assert!(more.is_err(), "nothing is told twice: {more:?}");
}

/// A session that has not started has a token and no id. Later the list shows both.
#[tokio::test(start_paused = true)]
async fn a_session_is_told_once_by_its_token_or_its_id() {
    let vendor = vendor();
    let alter = |element: &mut gotoassist_grpc::model::ListedSession| {
        if !element.session.session_id.is_empty() {
            element.session.session_id = "by id".to_owned();
        }
    };
    let listing = move || Listing { alter: Some(alter), ..Listing::default() };
    *vendor.lister.lock().unwrap() = Some(Box::new(listing));
    vendor.life("token", &[(0, "notStarted"), (20, "waiting"), (40, "active"), (60, "complete")]);
    let server = Server::new(&vendor);
    for explicit in [Vec::new(), vec![resumed("token", "")]] {
        let mut desk = open(&server, add_all_since(Some(at(0)), explicit)).await;
        while let Ok(told) = timeout(Duration::from_secs(100), desk.next()).await {
            assert_eq!(told.unwrap().session(), "token");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn removing_all_removes_what_it_has_found_and_nothing_else() {
    let vendor = vendor();
    for id in ["asked", "both", "found", "removed"] {
        vendor.life(id, &[(0, "waiting"), (100, "active")]);
    }
    let (server, start) = (Server::new(&vendor), Instant::now());
    let mut desk = open(&server, add_all_since(None, vec![resumed("asked", "")])).await;
    some(&mut desk, 4).await;
    desk.add(&["both"]).await;
    desk.remove(&["removed"]).await;
    until(start, 50).await;
    let remove = Remove { all: true, ..Remove::default() };
    desk.send(WatchSessionsRequest { action: Some(Action::Remove(remove)) }).await;
    vendor.life("later", &[(60, "waiting")]);
    let told = some(&mut desk, 2).await;
    let changed = |id| update(id, EventType::Changed, false);
    assert_eq!(told, [changed("asked"), changed("both")]);
    assert_eq!(desk.heartbeat().await.session_count, 2);
    // What was on the stream before is not found again.
    desk.send(all()).await;
    assert_eq!(next(&mut desk).await, update("later", EventType::Snapshot, false));
    let more = timeout(Duration::from_mins(10), next(&mut desk)).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_off_ends_all_and_nothing_else() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (10, "active"), (20, "complete")]);
    let mut desk = open(&Server::new(&vendor), add_all_since(None, vec![resumed("s", "")])).await;
    let status = end_of_all(&mut desk).await;
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unimplemented, "SESSION_LIST_OFF")
    );
    desk.close();
    let (rest, end) = desk.rest().await;
    assert!(matches!(rest.last(), Some(Told::Ended(session, _)) if session == "s"), "{rest:?}");
    assert!(matches!(end, End::Ok), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_list_ends_all_with_the_refusal_and_nothing_else() {
    let refusals = [
        (Kind::PermissionDenied, Code::PermissionDenied, "UPSTREAM_PERMISSION_DENIED"),
        (Kind::NotFound, Code::NotFound, "SESSION_LIST_NOT_FOUND"),
        (Kind::MethodNotSupported, Code::Unimplemented, "UPSTREAM_METHOD_NOT_SUPPORTED"),
    ];
    for (kind, code, expected) in refusals {
        let vendor = vendor();
        vendor.life("s", &[(0, "waiting"), (50, "active")]);
        let mut desk = open(&Server::new(&vendor), all()).await;
        assert_eq!(next(&mut desk).await.0, "s");
        refuse_list(&vendor, kind);
        let status = end_of_all(&mut desk).await;
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
        assert_eq!(next(&mut desk).await, update("s", EventType::Changed, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_refuses_the_credential_ends_the_stream() {
    let vendor = vendor();
    vendor.life("s", &[(0, "waiting")]);
    let mut desk = open(&Server::new(&vendor), all()).await;
    assert_eq!(next(&mut desk).await.0, "s");
    refuse_list(&vendor, Kind::CredentialRejected);
    let (session, status) = desk.ended().await;
    assert_eq!((session.as_str(), status.code()), ("s", Code::Unauthenticated));
    let end = desk.next().await.unwrap_err();
    assert_eq!((end.code(), end.reason().as_str()), (Code::Unauthenticated, "CREDENTIAL_REJECTED"));
}

#[tokio::test(start_paused = true)]
async fn all_bears_a_failing_list_up_to_the_outage_limit() {
    let vendor = vendor();
    vendor.life("s", &[(0, "waiting")]);
    refuse_list(&vendor, Kind::Unavailable);
    let (server, start) = (Server::new(&vendor), Instant::now());
    let mut desk = open(&server, all()).await;
    until(start, 600).await;
    *vendor.lister.lock().unwrap() = Some(Box::new(Listing::default));
    assert_eq!(next(&mut desk).await, update("s", EventType::Snapshot, false));
    refuse_list(&vendor, Kind::Unavailable);
    let status = end_of_all(&mut desk).await;
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "UPSTREAM_UNAVAILABLE")
    );
    let passed = start.elapsed().as_secs();
    assert!((1_500..1_600).contains(&passed), "15 minutes: {passed} s");
    // It can be added again.
    *vendor.lister.lock().unwrap() = Some(Box::new(Listing::default));
    vendor.life("later", &[(passed, "waiting")]);
    desk.send(all()).await;
    assert_eq!(next(&mut desk).await, update("later", EventType::Snapshot, false));
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_found_over_a_limit_are_refused_one_by_one() {
    let vendor = vendor();
    for id in ["1", "2", "3"] {
        vendor.life(id, &[(0, "waiting")]);
    }
    let server = Server::with(&vendor, |_, watches| watches.max_per_stream = 2);
    let mut desk = open(&server, all()).await;
    let (session, status) = desk.ended().await;
    assert_eq!((session.as_str(), reason(&status).as_str()), ("3", "OVERLOADED"));
    assert_eq!(some(&mut desk, 2).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_closed_side_does_not_end_all() {
    let vendor = vendor();
    vendor.life("first", &[(0, "waiting"), (10, "abandoned")]);
    let start = Instant::now();
    let mut desk = open(&Server::new(&vendor), all()).await;
    desk.close();
    assert_eq!(next(&mut desk).await.0, "first");
    until(start, 100).await;
    vendor.life("second", &[(100, "waiting")]);
    loop {
        if let (session, EventType::Snapshot, false) = next(&mut desk).await {
            assert_eq!(session, "second");
            break;
        }
    }
    vendor.lister.lock().unwrap().replace(Box::new(|| Listing {
        failure: Some(Kind::PermissionDenied),
        ..Listing::default()
    }));
    end_of_all(&mut desk).await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_all_is_checked_and_bounded() {
    let vendor = vendor();
    vendor.life("over", &[(0, "waiting"), (1, "abandoned")]);
    let (server, start) = (Server::new(&vendor), Instant::now());
    until(start, 10).await;
    for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
        let time = Some(prost_types::Timestamp { seconds, nanos });
        let end = open(&server, add_all_since(time, Vec::new())).await.next().await.unwrap_err();
        assert_eq!(
            (end.code(), end.reason().as_str()),
            (Code::InvalidArgument, "ARGUMENT_INVALID")
        );
    }
    // The year 1.
    let time = Some(prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 });
    let mut desk = open(&server, add_all_since(time, Vec::new())).await;
    assert_eq!(next(&mut desk).await, update("over", EventType::Snapshot, true));
    let mut desk = open(&server, add_all_since(Some(at(1_000)), Vec::new())).await;
    assert!(timeout(Duration::from_mins(1), next(&mut desk)).await.is_err());
}
