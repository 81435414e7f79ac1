//! The messages of a watch while the vendor is in trouble.

use std::time::Duration;

use gotoassist_grpc::{
    proto::{WatchSessionResponse, watch_session_response::EventType},
    wire::Kind,
};
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    ACTIVE, WAITING, passed,
    world::{End, Server, Trick, Vendor},
};

#[tokio::test(start_paused = true)]
async fn stale_then_recover() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (300, "active")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    vendor.play("s", vec![Trick::Fail(Kind::Malformed); 4]);
    let first = watcher.news().await;
    let stale = watcher.news().await;
    assert_eq!(stale.event_type(), EventType::Stale);
    assert_eq!(stale.observed_at, first.observed_at);
    let cause = stale.stale_cause.unwrap();
    assert_eq!(cause.code, i32::from(Code::Internal));
    let info = tonic_types::RpcStatusExt::get_details_error_info(&cause).unwrap();
    assert_eq!(info.reason, "UPSTREAM_MALFORMED_RESPONSE");
    // The vendor recovers, and nothing has changed. A heartbeat reports this before its interval is
    // over.
    let since = Instant::now();
    let back = watcher.next().await.unwrap();
    assert_eq!(back.event_type(), EventType::Heartbeat);
    assert!(back.observed_at.unwrap().seconds > first.observed_at.unwrap().seconds);
    assert!(since.elapsed() < Duration::from_secs(30));
    assert_eq!(watcher.news().await.session.unwrap().upstream_status, "active");
}

#[tokio::test(start_paused = true)]
async fn recovery_with_news_is_a_change() {
    let vendor = Vendor::new();
    // The change comes before the first poll, so that the first good answer shows it. That answer
    // comes before the heartbeat interval has passed, so that STALE is sent once.
    vendor.life("s", &[(0, "waiting"), (1, "active")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    vendor.play("s", vec![Trick::Fail(Kind::Unavailable); 3]);
    watcher.news().await;
    assert_eq!(watcher.news().await.event_type(), EventType::Stale);
    let changed = watcher.next().await.unwrap();
    assert_eq!(passed(&changed.transitions), [(WAITING, ACTIVE, false)]);
    let silent = watcher.next().await.unwrap();
    assert_eq!(silent.event_type(), EventType::Heartbeat, "the recovery is told once");
}

#[tokio::test(start_paused = true)]
async fn a_short_trouble_is_nobodys_business() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (60, "abandoned")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    vendor.play("s", vec![Trick::Fail(Kind::Unavailable); 2]);
    let (messages, end) = watcher.rest().await;
    assert!(messages.iter().all(|message| message.event_type() != EventType::Stale));
    assert_eq!(end.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn outage_over_limit() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    vendor.play("s", vec![Trick::Fail(Kind::ConnectFailed); 1000]);
    let start = Instant::now();
    let (messages, end) = watcher.rest().await;
    let mut kinds: Vec<_> = messages.iter().map(WatchSessionResponse::event_type).collect();
    let stale = kinds.iter().filter(|kind| **kind == EventType::Stale).count();
    assert!((25..=31).contains(&stale), "{stale} in 15 minutes, one each half a minute");
    kinds.dedup();
    assert_eq!(kinds, [EventType::Snapshot, EventType::Stale]);
    let End::Error(status) = end else { panic!("{end:?}") };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    let minutes = start.elapsed().as_secs() / 60;
    assert!((15..17).contains(&minutes), "after {minutes} minutes");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_silence_ends_too() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    vendor.play("s", [Trick::Fail(Kind::Timeout), Trick::Slow(Duration::from_hours(10))]);
    let start = Instant::now();
    let (_, end) = watcher.rest().await;
    assert_eq!(end.code(), Code::Unavailable);
    assert!(start.elapsed() < Duration::from_mins(16));
}

#[tokio::test(start_paused = true)]
async fn refused_credential_ends_at_once() {
    for (kind, code, expected) in [
        (Kind::CredentialRejected, Code::Unauthenticated, "CREDENTIAL_REJECTED"),
        (Kind::NoSeat, Code::PermissionDenied, "NO_REMOTE_SUPPORT_SEAT"),
    ] {
        let vendor = Vendor::new();
        vendor.life("s", &[(0, "active")]);
        let mut watcher = Server::new(&vendor).watch("s").await;
        vendor.play("s", [Trick::Fail(kind)]);
        let (messages, end) = watcher.rest().await;
        assert_eq!(messages.len(), 1);
        assert_eq!((end.code(), end.reason().as_str()), (code, expected));
        assert_eq!(vendor.count("s"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn gone_confirmed_twice() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    watcher.next().await.unwrap();
    let gone = || Trick::Fail(Kind::NotFound);
    vendor.play("s", [gone(), Trick::Honest, gone(), Trick::Fail(Kind::Unavailable), gone()]);
    let (messages, end) = watcher.rest().await;
    assert!(messages.is_empty(), "one slip is no news: {:?}", messages.len());
    assert_eq!((end.code(), end.reason().as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
    assert_eq!(vendor.count("s"), 6);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_breaks_down_ends_its_watches_and_the_next_begins_anew() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let mut watcher = server.watch("s").await;
    let first = watcher.next().await.unwrap();
    vendor.play("s", [Trick::Panic]);
    let start = Instant::now();
    let (messages, end) = watcher.rest().await;
    assert_eq!((messages.len(), end.code()), (0, Code::Unavailable));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let resumed = server.resume("s", &first.resume_token).await.next().await.unwrap();
    assert_eq!(resumed.event_type(), EventType::Heartbeat);
}
