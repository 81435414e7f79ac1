//! The messages of a resumed watch on any replica, and which resume tokens are refused.

use std::time::Duration;

use gotoassist_grpc::{
    grpc::resume_token::ResumeTokenCodec,
    proto::{WatchSessionRequest, watch_session_response::EventType},
    wire::Kind,
};
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    ACTIVE, COMPLETE, NOT_STARTED, WAITING, passed, until,
    world::{Server, Trick, Vendor},
};
use crate::kit::{reason, request};

#[tokio::test(start_paused = true)]
async fn no_back_in_time_across_resume() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (10, "active"), (60, "complete")]);
    let start = Instant::now();
    let mut watcher = Server::new(&vendor).watch("s").await;
    watcher.news().await;
    let active = watcher.news().await;
    drop(watcher);

    vendor.play("s", [Trick::OutOfDate(Duration::from_mins(1))]);
    let mut resumed = Server::new(&vendor).resume("s", &active.resume_token).await;
    let first = resumed.next().await.unwrap();
    assert_eq!(first.event_type(), EventType::Heartbeat);
    let later = first.observed_at.unwrap().seconds - active.observed_at.unwrap().seconds;
    assert!((1..5).contains(&later), "a doubtful answer is no news, the next one is: {later} s");
    until(start, 50).await;
    let last = resumed.news().await;
    assert_eq!(passed(&last.transitions), [(ACTIVE, COMPLETE, false)]);
    assert!(last.terminal);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_status_across_resume_is_told_when_a_second_answer_confirms_it() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let active = Server::new(&vendor).watch("s").await.next().await.unwrap();
    vendor.life("s", &[(0, "waiting")]);
    let before = Instant::now();
    let mut resumed = Server::new(&vendor).resume("s", &active.resume_token).await;
    let back = resumed.next().await.unwrap();
    assert_eq!(passed(&back.transitions), [(ACTIVE, WAITING, false)]);
    assert_eq!(vendor.count("s"), 3, "two answers");
    assert!(before.elapsed() < Duration::from_secs(2), "a doubtful answer is checked soon");
}

#[tokio::test(start_paused = true)]
async fn resume_with_the_same_content_is_a_heartbeat() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let first = Server::new(&vendor).watch("s").await.next().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let resumed = Server::new(&vendor).resume("s", &first.resume_token).await.next().await.unwrap();
    assert_eq!(resumed.event_type(), EventType::Heartbeat);
    assert!(resumed.session.is_none());
    assert!(resumed.observed_at.unwrap().seconds > first.observed_at.unwrap().seconds);
}

#[tokio::test(start_paused = true)]
async fn resume_on_another_replica() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (30, "active"), (60, "complete")]);
    let start = Instant::now();
    let (one, other) = (Server::new(&vendor), Server::new(&vendor));
    let mut watcher = one.watch("s").await;
    let first = watcher.next().await.unwrap();
    // The other replica already polls the session. It has seen the change before the watcher comes.
    let mut resident = other.watch("s").await;
    resident.news().await;
    resident.news().await;
    drop((watcher, one));
    until(start, 40).await;
    let mut resumed = other.resume("s", &first.resume_token).await;
    let changed = resumed.next().await.unwrap();
    assert_eq!(changed.event_type(), EventType::Changed);
    assert_eq!(passed(&changed.transitions), [(WAITING, ACTIVE, false)]);
    let last = resumed.news().await;
    assert_eq!(passed(&last.transitions), [(ACTIVE, COMPLETE, false)]);
}

#[tokio::test(start_paused = true)]
async fn resume_after_missed_transitions() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "notStarted"), (10, "waiting"), (30, "active"), (60, "complete")]);
    let start = Instant::now();
    let first = Server::new(&vendor).watch("s").await.next().await.unwrap();
    until(start, 3600).await;
    let mut resumed = Server::new(&vendor).resume("s", &first.resume_token).await;
    let (messages, end) = resumed.rest().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(
        passed(&messages[0].transitions),
        [(NOT_STARTED, WAITING, true), (WAITING, ACTIVE, true), (ACTIVE, COMPLETE, false)]
    );
    assert!(messages[0].terminal);
    assert_eq!(end.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn resume_of_a_finished_watch_is_one_terminal_heartbeat() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "complete")]);
    let server = Server::new(&vendor);
    let (messages, _) = server.watch("s").await.rest().await;
    let (again, end) = server.resume("s", &messages[0].resume_token).await.rest().await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].event_type(), again[0].terminal), (EventType::Heartbeat, true));
    assert_eq!(end.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn foreign_token_refused() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    vendor.life("z", &[(0, "active")]);
    let server = Server::new(&vendor);
    let first = server.watch("s").await.next().await.unwrap();
    let message = WatchSessionRequest { resume_token: first.resume_token, ..request::watch("z") };
    let error = server.watch_with(message).await.err().unwrap();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(reason(&error), "RESUME_TOKEN_INVALID");
    assert_eq!(error.get_details_bad_request().unwrap().field_violations[0].field, "resume_token");
    assert_eq!(vendor.count("z"), 0);
}

#[tokio::test(start_paused = true)]
async fn forged_token_refused() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let token = server.watch("s").await.next().await.unwrap().resume_token;
    let forgeries = (0..token.len()).filter(|place| *place != 1).map(|place| {
        let replacement = if token.as_bytes()[place] == b'A' { "B" } else { "A" };
        format!("{}{replacement}{}", &token[..place], &token[place + 1..])
    });
    let made_up =
        ["x", "v1.", "v1.AAAA", "v1.ä", "garbage", "v.x", "vx.y", "v2."].map(str::to_owned);
    for forgery in forgeries.chain(made_up).chain([token[..token.len() - 4].to_owned()]) {
        let message = WatchSessionRequest { resume_token: forgery.clone(), ..request::watch("s") };
        let error = server.watch_with(message).await.err().unwrap_or_else(|| panic!("{forgery}"));
        assert_eq!(error.code(), Code::InvalidArgument, "{forgery}");
    }
    let own_key = ResumeTokenCodec::new(Some("operator's"));
    let id = "s".parse().unwrap();
    assert!(own_key.decode(&id, &token).is_err(), "another key's token");
}

#[tokio::test(start_paused = true)]
async fn unknown_token_version_resets() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let first = server.resume("s", "v2.anything-at-all").await.next().await.unwrap();
    assert_eq!(first.event_type(), EventType::Snapshot);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_watch_believes_only_a_second_not_found() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let token = Server::new(&vendor).watch("s").await.next().await.unwrap().resume_token;
    let server = Server::new(&vendor);
    vendor.play("s", [Trick::Fail(Kind::NotFound)]);
    let first = server.resume("s", &token).await.next().await.unwrap();
    assert_eq!(first.event_type(), EventType::Heartbeat);
    vendor.play("z", []);
    let server = Server::new(&vendor);
    vendor.play("s", [Trick::Fail(Kind::NotFound), Trick::Fail(Kind::NotFound)]);
    let message = WatchSessionRequest { resume_token: token, ..request::watch("s") };
    assert_eq!(server.watch_with(message).await.err().unwrap().code(), Code::NotFound);
}
