//! A watch reports only the state of its own session, whatever a 200 answer contains.

use std::time::Duration;

use gotoassist_grpc::{
    model::Session,
    proto::{WatchSessionResponse, watch_session_response::EventType},
    wire::{Error, Kind},
};
use tokio::time::Instant;
use tonic::Code;

use super::{
    ACTIVE, COMPLETE, WAITING, passed, until,
    world::{Server, Trick, Vendor, after_dawn, body, second},
};
use crate::kit::{reason, request};

/// An active session with all usual fields. It is over after ten minutes.
fn active_for_ten_minutes(vendor: &Vendor) {
    vendor.life("250040353", &[(0, "active"), (600, "complete")]);
    for second in [0, 600] {
        vendor.alter("250040353", second, |session| {
            "screen_sharing".clone_into(&mut session.session_type);
            session.expert_name = Some("Expert".to_owned());
            session.customer_name = Some("Customer".to_owned());
            session.notes = Some("note".to_owned());
            "1842200297248054807".clone_into(&mut session.account_key);
        });
    }
}

/// The messages of a watch of that session, while the vendor plays these tricks.
async fn told(tricks: Vec<Trick>) -> Vec<WatchSessionResponse> {
    let vendor = Vendor::new();
    active_for_ten_minutes(&vendor);
    let mut watcher = Server::new(&vendor).watch("250040353").await;
    let first = watcher.next().await.unwrap();
    vendor.play("250040353", tricks);
    let (mut messages, end) = watcher.rest().await;
    assert_eq!(end.code(), Code::Ok);
    let last = messages.last().unwrap();
    assert!(last.terminal);
    assert_eq!(passed(&last.transitions), [(ACTIVE, COMPLETE, false)]);
    messages.insert(0, first);
    messages
}

fn kinds(messages: &[WatchSessionResponse]) -> Vec<EventType> {
    let mut kinds: Vec<_> = messages.iter().map(WatchSessionResponse::event_type).collect();
    kinds.dedup();
    kinds
}

#[tokio::test(start_paused = true)]
async fn what_is_not_a_session_is_stale_and_never_a_change() {
    for alter in [body::nothing, body::notice, body::hollow] {
        let messages = told(vec![Trick::Body(alter); 6]).await;
        let expected =
            [EventType::Snapshot, EventType::Stale, EventType::Heartbeat, EventType::Changed];
        assert_eq!(kinds(&messages), expected);
        let cause = messages[1].stale_cause.as_ref().unwrap();
        assert_eq!(cause.code, i32::from(Code::Internal));
        let info = tonic_types::RpcStatusExt::get_details_error_info(cause).unwrap();
        assert_eq!(info.reason, "UPSTREAM_MALFORMED_RESPONSE");
    }
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_is_not_a_session_is_nobodys_business() {
    for alter in [body::nothing, body::notice, body::hollow, body::foreign, body::half] {
        let messages = told(vec![Trick::Body(alter)]).await;
        let expected = [EventType::Snapshot, EventType::Heartbeat, EventType::Changed];
        assert_eq!(kinds(&messages), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn another_session_is_never_told_however_often_it_comes() {
    let messages = told(vec![Trick::Body(body::foreign); 20]).await;
    for session in messages.iter().filter_map(|message| message.session.as_ref()) {
        assert_eq!(session.session_id, "250040353");
        assert_eq!(session.customer_name.as_deref(), Some("Customer"));
    }
    assert!(kinds(&messages).contains(&EventType::Stale));
}

#[tokio::test(start_paused = true)]
async fn another_session_is_not_told_across_a_resume() {
    let vendor = Vendor::new();
    active_for_ten_minutes(&vendor);
    let first = Server::new(&vendor).watch("250040353").await.next().await.unwrap();
    vendor.play("250040353", [Trick::Body(body::foreign)]);
    let server = Server::new(&vendor);
    let resumed = server.resume("250040353", &first.resume_token).await.next().await.unwrap();
    assert_eq!(resumed.event_type(), EventType::Heartbeat, "the answer after it counts");

    vendor.play("250040353", vec![Trick::Body(body::foreign); 20]);
    let message = gotoassist_grpc::proto::WatchSessionRequest {
        resume_token: first.resume_token,
        ..request::watch("250040353")
    };
    let error = Server::new(&vendor).watch_with(message).await.err().unwrap();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::Internal, "UPSTREAM_MALFORMED_RESPONSE")
    );
}

#[tokio::test(start_paused = true)]
async fn half_a_body_is_told_only_when_a_second_answer_confirms_it() {
    let messages = told(vec![Trick::Body(body::half); 2]).await;
    let changed: Vec<_> =
        messages.iter().filter(|message| message.event_type() == EventType::Changed).collect();
    let [gone, back, ..] = &changed[..] else { panic!("{}", changed.len()) };
    assert!(gone.session.as_ref().unwrap().notes.is_none());
    assert!(gone.transitions.is_empty());
    assert_eq!(back.session.as_ref().unwrap().notes.as_deref(), Some("note"));
}

#[tokio::test(start_paused = true)]
async fn half_a_body_after_a_resume_waits_for_a_second_answer() {
    let vendor = Vendor::new();
    active_for_ten_minutes(&vendor);
    let first = Server::new(&vendor).watch("250040353").await.next().await.unwrap();
    vendor.play("250040353", [Trick::Body(body::half)]);
    let server = Server::new(&vendor);
    let resumed = server.resume("250040353", &first.resume_token).await.next().await.unwrap();
    assert_eq!(resumed.event_type(), EventType::Heartbeat);
}

#[tokio::test(start_paused = true)]
async fn statuses_in_other_letters_are_the_same_statuses() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (60, "Active"), (120, "COMPLETE")]);
    let (messages, end) = Server::new(&vendor).watch("s").await.rest().await;
    assert_eq!(end.code(), Code::Ok);
    let steps: Vec<_> = messages.iter().flat_map(|message| passed(&message.transitions)).collect();
    assert_eq!(steps, [(WAITING, ACTIVE, false), (ACTIVE, COMPLETE, false)]);
    let last = messages.last().unwrap().session.as_ref().unwrap();
    assert_eq!(last.upstream_status, "COMPLETE");
}

#[tokio::test(start_paused = true)]
async fn other_letters_alone_are_no_transition() {
    let messages = told(vec![Trick::Body(body::loud); 2]).await;
    for changed in messages.iter().filter(|message| message.event_type() == EventType::Changed) {
        if !changed.terminal {
            assert!(changed.transitions.is_empty());
            assert_eq!(changed.changed_fields.as_ref().unwrap().paths, ["upstream_status"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_with_no_session_fails_like_a_call() {
    for alter in [body::nothing, body::notice, body::hollow] {
        let vendor = Vendor::new();
        active_for_ten_minutes(&vendor);
        vendor.play("250040353", [Trick::Body(alter)]);
        let error =
            Server::new(&vendor).watch_with(request::watch("250040353")).await.err().unwrap();
        assert_eq!(
            (error.code(), reason(&error).as_str()),
            (Code::Internal, "UPSTREAM_MALFORMED_RESPONSE")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_code_of_the_vendors_needs_a_second() {
    let forbidden = || Trick::Fail(Kind::PermissionDenied);
    let messages = told(vec![forbidden(), Trick::Honest, forbidden()]).await;
    assert!(!kinds(&messages).contains(&EventType::Stale));

    let vendor = Vendor::new();
    active_for_ten_minutes(&vendor);
    let mut watcher = Server::new(&vendor).watch("250040353").await;
    watcher.next().await.unwrap();
    vendor.play("250040353", [forbidden(), forbidden()]);
    let (_, end) = watcher.rest().await;
    assert_eq!(end.code(), Code::PermissionDenied);
    assert_eq!(vendor.count("250040353"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_the_vendors_own_words_ends_at_once() {
    let vendor = Vendor::new();
    active_for_ten_minutes(&vendor);
    let mut watcher = Server::new(&vendor).watch("250040353").await;
    watcher.next().await.unwrap();
    let mut refusal = Error::new(Kind::PermissionDenied);
    refusal.upstream_code = Some("AccessDenied".to_owned());
    vendor.play("250040353", [Trick::Refuse(refusal)]);
    let (_, end) = watcher.rest().await;
    assert_eq!(end.reason(), "UPSTREAM_PERMISSION_DENIED");
    assert_eq!(vendor.count("250040353"), 2);
}

#[tokio::test(start_paused = true)]
async fn times_of_transitions_never_fall() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "notStarted"), (1, "complete")]);
    vendor.alter("s", 1, |session| {
        let at = |second| Some(after_dawn(Duration::from_secs(second)).into());
        session.started_at = at(9);
        session.customer_joined_at = at(5);
        session.ended_at = at(7);
    });
    let (messages, _) = Server::new(&vendor).watch("s").await.rest().await;
    let steps = &messages.last().unwrap().transitions;
    let times: Vec<_> = steps.iter().map(|step| step.occurred_at).collect();
    assert_eq!(times, [Some(second(9)); 3]);
    assert!(steps.iter().all(|step| step.inferred));
}

#[tokio::test(start_paused = true)]
async fn a_join_url_that_is_always_new_is_told_once_a_minute() {
    let vendor = Vendor::new();
    let session = |second: u64| Session {
        session_id: "s".to_owned(),
        upstream_status: if second < 600 { "active" } else { "complete" }.to_owned(),
        customer_join_url: Some(format!("https://join.example/{second}")),
        ..Session::default()
    };
    let stages = (0..=600).map(|second| (Duration::from_secs(second), session(second)));
    vendor.stages("s", stages.collect());
    let (messages, end) = Server::new(&vendor).watch("s").await.rest().await;
    assert_eq!(end.code(), Code::Ok);
    let changes = messages
        .iter()
        .filter(|message| message.event_type() == EventType::Changed && !message.terminal);
    let changes = changes.count();
    assert!((9..=14).contains(&changes), "{changes} changes in ten minutes");
    let last = messages.last().unwrap();
    assert_eq!(passed(&last.transitions), [(ACTIVE, COMPLETE, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_makes_the_watch_stale_and_not_blind() {
    let failures = |kind: Kind| {
        let mut error = Error::new(kind);
        error.retry_after = Some(Duration::from_mins(10));
        Trick::Refuse(error)
    };
    for kind in [Kind::Internal, Kind::Unavailable, Kind::RateLimited] {
        let vendor = Vendor::new();
        vendor.life("s", &[(0, "active"), (30, "complete")]);
        let start = Instant::now();
        let mut watcher = Server::new(&vendor).watch("s").await;
        watcher.next().await.unwrap();
        vendor.play("s", [failures(kind)]);
        let stale = watcher.next().await.unwrap();
        assert_eq!(stale.event_type(), EventType::Stale, "{kind:?}");
        assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
        let last = watcher.news().await;
        let last = if last.event_type() == EventType::Stale { watcher.news().await } else { last };
        assert_eq!(passed(&last.transitions), [(ACTIVE, COMPLETE, false)]);
        assert!(start.elapsed() < Duration::from_secs(90), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_outage_limit_goes_by_the_clock() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    // After one failure, the next request waits for quota for hours.
    vendor.play("s", [Trick::Fail(Kind::RateLimited), Trick::Slow(Duration::from_hours(5))]);
    let start = Instant::now();
    let (messages, end) = watcher.rest().await;
    assert_eq!((end.code(), end.reason().as_str()), (Code::Unavailable, "UPSTREAM_UNAVAILABLE"));
    assert!(start.elapsed() < Duration::from_mins(16), "{:?}", start.elapsed());
    assert!(kinds(&messages).contains(&EventType::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_a_poll_in_trouble_asks_for_itself() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active"), (20, "complete")]);
    let server = Server::new(&vendor);
    let start = Instant::now();
    let mut watcher = server.watch("s").await;
    watcher.next().await.unwrap();
    let mut error = Error::new(Kind::Unavailable);
    error.retry_after = Some(Duration::from_mins(10));
    vendor.play("s", [Trick::Refuse(error)]);
    until(start, 21).await;
    let first = server.watch("s").await.next().await.unwrap();
    assert!(first.terminal, "the newest state, not the one before the trouble");
    let told = watcher.news().await;
    let told = if told.event_type() == EventType::Stale { watcher.news().await } else { told };
    assert!(told.terminal, "and those who were there hear of it too");
    assert!(start.elapsed() < Duration::from_secs(22), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_again_at_each_heartbeat_and_a_heartbeat_means_recovery() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active"), (3000, "complete")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    watcher.next().await.unwrap();
    vendor.play("s", vec![Trick::Fail(Kind::Unavailable); 100]);
    let mut kinds = Vec::new();
    loop {
        let message = watcher.next().await.unwrap();
        kinds.push(message.event_type());
        if kinds.contains(&EventType::Stale) && message.event_type() == EventType::Heartbeat {
            break;
        }
    }
    let stale = kinds.iter().filter(|kind| **kind == EventType::Stale).count();
    assert!(stale > 5, "{kinds:?}");
    let first = kinds.iter().position(|kind| *kind == EventType::Stale).unwrap();
    let between = &kinds[first..kinds.len() - 1];
    assert!(between.iter().all(|kind| *kind == EventType::Stale), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn while_answers_come_seldom_a_new_watch_needs_no_request_of_its_own() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let start = Instant::now();
    let mut watcher = server.watch("s").await;
    watcher.next().await.unwrap();
    tokio::spawn(async move { watcher.rest().await });
    // Each poll takes a minute, as if it waited for the quota.
    vendor.play("s", vec![Trick::Slow(Duration::from_mins(1)); 5]);
    until(start, 180).await;
    let (asked, before) = (vendor.count("s"), Instant::now());
    let first = server.watch("s").await.next().await.unwrap();
    assert_eq!(first.event_type(), EventType::Snapshot);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(vendor.count("s"), asked);
}
