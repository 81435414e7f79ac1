//! The messages of a watch: the snapshot, changes, transitions and heartbeats.

use std::time::Duration;

use gotoassist_grpc::{
    proto::{WatchSessionRequest, WatchSessionResponse, watch_session_response::EventType},
    wire::Kind,
};
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    ACTIVE, COMPLETE, NOT_STARTED, WAITING, passed, until,
    world::{Server, Trick, Vendor, second},
};
use crate::kit::{reason, request};

#[tokio::test(start_paused = true)]
async fn snapshot_first() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    let first = watcher.next().await.unwrap();
    assert_eq!(first.event_type(), EventType::Snapshot);
    assert_eq!(first.session.unwrap().upstream_status, "waiting");
    assert!(first.transitions.is_empty() && first.changed_fields.is_none() && !first.terminal);
    assert!(!first.resume_token.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_cannot_start_fails_like_a_plain_call() {
    let vendor = Vendor::new();
    let server = Server::new(&vendor);
    let error = server.watch_with(request::watch("nobody")).await.err().unwrap();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
    assert_eq!(error.get_details_resource_info().unwrap().resource_name, "nobody");
    vendor.life("s", &[(0, "waiting")]);
    vendor.play("s", [Trick::Fail(Kind::Unavailable)]);
    let error = server.watch_with(request::watch("s")).await.err().unwrap();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::Unavailable, "UPSTREAM_UNAVAILABLE")
    );
    assert!(error.get_details_retry_info().is_some());
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_are_refused_before_anything_is_sent() {
    let vendor = Vendor::new();
    let server = Server::new(&vendor);
    let too_long = "x".repeat(513);
    for id in ["", ".", "..", "a\r\nb", "\u{7f}", too_long.as_str()] {
        let error = server.watch_with(request::watch(id)).await.err().unwrap();
        assert_eq!(error.code(), Code::InvalidArgument, "{id:?}");
        assert_eq!(
            error.get_details_bad_request().unwrap().field_violations[0].field,
            "session_id"
        );
    }
    let negative = prost_types::Duration { seconds: -1, nanos: 0 };
    let day_and_more = prost_types::Duration { seconds: 86_401, nanos: 0 };
    for message in [
        WatchSessionRequest { heartbeat_interval: Some(negative), ..request::watch("s") },
        WatchSessionRequest { follow_after_end: Some(negative), ..request::watch("s") },
        WatchSessionRequest { follow_after_end: Some(day_and_more), ..request::watch("s") },
    ] {
        let error = server.watch_with(message).await.err().unwrap();
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    assert!(vendor.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_credential_nothing_is_sent() {
    let vendor = Vendor::new();
    let server = Server::new(&vendor);
    let error = server.watch_request(tonic::Request::new(request::watch("s"))).await.err().unwrap();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert_eq!(reason(&error), "CREDENTIAL_MISSING");
    assert!(vendor.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_duplicate_events() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (30, "active"), (300, "complete")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    let (messages, end) = watcher.rest().await;
    let news: Vec<_> = messages
        .iter()
        .filter(|message| message.event_type() != EventType::Heartbeat)
        .map(WatchSessionResponse::event_type)
        .collect();
    assert_eq!(news, [EventType::Snapshot, EventType::Changed, EventType::Changed]);
    assert_eq!(end.code(), Code::Ok);
    assert!(vendor.count("s") > 50, "a poll every five seconds");
}

#[tokio::test(start_paused = true)]
async fn changed_fields_name_what_differs() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (10, "active")]);
    vendor.alter("s", 20, |session| session.notes = Some("later".to_owned()));
    let server = Server::new(&vendor);
    let mut watcher = server.watch("s").await;
    let first = watcher.news().await;
    let active = watcher.news().await;
    assert_eq!(
        active.changed_fields.unwrap().paths,
        ["status", "upstream_status", "customer_joined_at"]
    );
    let notes = watcher.news().await;
    assert_eq!(notes.changed_fields.unwrap().paths, ["notes"]);
    assert!(notes.transitions.is_empty());
    // The same is true after a resume at a server that has never seen what the watcher knows.
    let other = Server::new(&vendor);
    let resumed = other.resume("s", &first.resume_token).await.next().await.unwrap();
    assert_eq!(
        resumed.changed_fields.unwrap().paths,
        ["status", "upstream_status", "customer_joined_at", "notes"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_earlier_status_is_held_back_until_a_second_answer_confirms_it() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active"), (600, "complete")]);
    vendor.alter("s", 60, |session| session.upstream_status = "waiting".to_owned());
    vendor.alter("s", 120, |session| session.upstream_status = "active".to_owned());
    let mut watcher = Server::new(&vendor).watch("s").await;
    assert_eq!(watcher.news().await.session.unwrap().upstream_status, "active");
    let back = watcher.news().await;
    assert_eq!(passed(&back.transitions), [(ACTIVE, WAITING, false)]);
    let on = watcher.news().await;
    assert_eq!(passed(&on.transitions), [(WAITING, ACTIVE, false)]);
}

#[tokio::test(start_paused = true)]
async fn no_back_in_time() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (10, "active"), (60, "complete")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    vendor.play("s", vec![Trick::Honest; 5]);
    for _ in 0..3 {
        vendor.play("s", [Trick::OutOfDate(Duration::from_secs(40)), Trick::Honest]);
    }
    let (messages, end) = watcher.rest().await;
    let statuses: Vec<_> =
        messages.iter().filter_map(|message| Some(message.session.as_ref()?.status)).collect();
    assert_eq!(statuses, [WAITING, ACTIVE, COMPLETE]);
    assert_eq!(end.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn inferred_transition_waiting_complete() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (100, "active"), (101, "complete")]);
    let server = Server::with(&vendor, |settings, _| {
        settings.intervals.waiting = Duration::from_mins(3);
    });
    let mut watcher = server.watch("s").await;
    watcher.news().await;
    let last = watcher.news().await;
    assert_eq!(passed(&last.transitions), [(WAITING, ACTIVE, true), (ACTIVE, COMPLETE, false)]);
    assert_eq!(last.transitions[0].occurred_at, Some(second(100)));
    assert_eq!(last.transitions[1].occurred_at, Some(second(101)));
    assert!(last.terminal);
}

#[tokio::test(start_paused = true)]
async fn coalescing_merges_transitions() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "notStarted"), (20, "waiting"), (40, "paused"), (60, "active")]);
    let start = Instant::now();
    let server = Server::new(&vendor);
    let mut quick = server.watch("s").await;
    let mut slow = server.watch("s").await;
    slow.next().await.unwrap();
    for _ in 0..4 {
        quick.news().await;
    }
    until(start, 65).await;
    let merged = slow.news().await;
    assert_eq!(
        passed(&merged.transitions),
        [(NOT_STARTED, WAITING, false), (WAITING, 0, false), (0, ACTIVE, false)]
    );
    assert_eq!(merged.session.unwrap().upstream_status, "active");
}

#[tokio::test(start_paused = true)]
async fn heartbeat_when_idle() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    for (asked, heard) in [(0, 30), (1, 5), (10, 10), (10_000, 300)] {
        let interval = prost_types::Duration { seconds: asked, nanos: 0 };
        let message =
            WatchSessionRequest { heartbeat_interval: Some(interval), ..request::watch("s") };
        let mut watcher = server.watch_with(message).await.unwrap();
        let first = watcher.next().await.unwrap();
        let since = Instant::now();
        let heartbeat = watcher.next().await.unwrap();
        assert_eq!(heartbeat.event_type(), EventType::Heartbeat);
        assert_eq!(since.elapsed().as_secs(), heard);
        let gain = heartbeat.observed_at.unwrap().seconds - first.observed_at.unwrap().seconds;
        assert!(gain >= i64::try_from(heard).unwrap() - 6, "the time of the latest good answer");
        assert!(!heartbeat.resume_token.is_empty());
    }
}
