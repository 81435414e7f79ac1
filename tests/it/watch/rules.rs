//! The rules of `WatchSession`, under the names that the contract's issue gives them.

use std::time::Duration;

use gotoassist_grpc::{
    grpc::resume_token::Sealer,
    proto::{
        SessionStatus, StatusTransition, WatchSessionRequest, watch_session_response::EventType,
    },
    rest::Kind,
};
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::world::{End, Server, Trick, Vendor, authorized, reason, request, second};

const WAITING: i32 = SessionStatus::Waiting as i32;
const ACTIVE: i32 = SessionStatus::Active as i32;
const COMPLETE: i32 = SessionStatus::Complete as i32;
const NOT_STARTED: i32 = SessionStatus::NotStarted as i32;

fn passed(transitions: &[StatusTransition]) -> Vec<(i32, i32, bool)> {
    transitions.iter().map(|step| (step.from_status, step.to_status, step.inferred)).collect()
}

/// Whole seconds, so that sleeping to a point in a session's life is easy to read.
async fn until(start: Instant, second: u64) {
    tokio::time::sleep_until(start + Duration::from_secs(second)).await;
}

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
    let error = server.watch_with(request("nobody")).await.err().unwrap();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
    assert_eq!(error.get_details_resource_info().unwrap().resource_name, "nobody");
    vendor.life("s", &[(0, "waiting")]);
    vendor.play("s", [Trick::Fail(Kind::Unavailable)]);
    let error = server.watch_with(request("s")).await.err().unwrap();
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
        let error = server.watch_with(request(id)).await.err().unwrap();
        assert_eq!(error.code(), Code::InvalidArgument, "{id:?}");
        assert_eq!(
            error.get_details_bad_request().unwrap().field_violations[0].field,
            "session_id"
        );
    }
    let negative = prost_types::Duration { seconds: -1, nanos: 0 };
    let day_and_more = prost_types::Duration { seconds: 86_401, nanos: 0 };
    for message in [
        WatchSessionRequest { heartbeat_interval: Some(negative), ..request("s") },
        WatchSessionRequest { follow_after_end: Some(negative), ..request("s") },
        WatchSessionRequest { follow_after_end: Some(day_and_more), ..request("s") },
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
    let error = server.watch_request(tonic::Request::new(request("s"))).await.err().unwrap();
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
        .map(|message| message.event_type())
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
    // The same across a resume, where the server has never seen what the watcher knows.
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
    assert_eq!(first.observed_at, active.observed_at, "a doubtful answer is no news");
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
    let mut resumed = Server::new(&vendor).resume("s", &active.resume_token).await;
    assert_eq!(resumed.next().await.unwrap().event_type(), EventType::Heartbeat);
    let before = Instant::now();
    let back = resumed.next().await.unwrap();
    assert_eq!(passed(&back.transitions), [(ACTIVE, WAITING, false)]);
    assert!(before.elapsed() < Duration::from_secs(2), "a doubtful answer is checked soon");
}

#[tokio::test(start_paused = true)]
async fn inferred_transition_waiting_complete() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (100, "active"), (101, "complete")]);
    let server = Server::with(&vendor, |settings, _| {
        settings.pace.waiting = Duration::from_mins(3);
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
    // The other replica watches already, and has seen the change before the watcher comes.
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
    let message = WatchSessionRequest { resume_token: first.resume_token, ..request("z") };
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
        let message = WatchSessionRequest { resume_token: forgery.clone(), ..request("s") };
        let error = server.watch_with(message).await.err().unwrap_or_else(|| panic!("{forgery}"));
        assert_eq!(error.code(), Code::InvalidArgument, "{forgery}");
    }
    let own_key = Sealer::new(Some("operator's"));
    let id = "s".parse().unwrap();
    assert!(own_key.open(&id, &token).is_err(), "another key's token");
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
async fn heartbeat_when_idle() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    for (asked, heard) in [(0, 30), (1, 5), (10, 10), (10_000, 300)] {
        let interval = prost_types::Duration { seconds: asked, nanos: 0 };
        let message = WatchSessionRequest { heartbeat_interval: Some(interval), ..request("s") };
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

#[tokio::test(start_paused = true)]
async fn heartbeat_before_deadline_and_the_deadline_ends_the_stream_on_time() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let start = Instant::now();
    let mut request = authorized("t", request("s"));
    request.metadata_mut().insert("grpc-timeout", "7300m".parse().unwrap());
    let mut watcher = server.watch_request(request).await.unwrap();
    let (messages, end) = watcher.rest().await;
    let kinds: Vec<_> = messages.iter().map(|message| message.event_type()).collect();
    assert_eq!(kinds, [EventType::Snapshot, EventType::Heartbeat]);
    assert_eq!((end.code(), end.reason().as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    let late = start.elapsed().saturating_sub(Duration::from_millis(7300));
    assert!(late < Duration::from_millis(10), "{late:?} late");
    let resumed = server.resume("s", &messages[1].resume_token).await.next().await.unwrap();
    assert_eq!(resumed.event_type(), EventType::Heartbeat);
}

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
    // Back, with nothing new: a heartbeat tells, well before its interval.
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
    vendor.life("s", &[(0, "waiting"), (10, "active")]);
    let mut watcher = Server::new(&vendor).watch("s").await;
    vendor.play("s", vec![Trick::Fail(Kind::Unavailable); 5]);
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
    let stale = messages.iter().filter(|message| message.event_type() == EventType::Stale).count();
    assert_eq!(stale, 1, "once, whatever the cause becomes");
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
        (Kind::PermissionDenied, Code::PermissionDenied, "UPSTREAM_PERMISSION_DENIED"),
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
    let message = WatchSessionRequest { resume_token: token, ..request("s") };
    assert_eq!(server.watch_with(message).await.err().unwrap().code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn ok_iff_terminal() {
    for last in ["complete", "abandoned"] {
        let vendor = Vendor::new();
        vendor.life("s", &[(0, "waiting"), (20, last)]);
        let server = Server::new(&vendor);
        let (messages, end) = server.watch("s").await.rest().await;
        let terminal: Vec<_> = messages.iter().map(|message| message.terminal).collect();
        assert_eq!(terminal, [false, true]);
        assert_eq!(end.code(), Code::Ok);
        // Watching a finished session: one terminal snapshot.
        let (messages, end) = server.watch("s").await.rest().await;
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].event_type(), messages[0].terminal), (EventType::Snapshot, true));
        assert_eq!(end.code(), Code::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn follow_after_end_sees_recording_url() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active"), (20, "complete")]);
    vendor.alter("s", 400, |session| session.session_recording_url = Some("https://r".to_owned()));
    let follow = prost_types::Duration { seconds: 600, nanos: 0 };
    let message = WatchSessionRequest { follow_after_end: Some(follow), ..request("s") };
    let start = Instant::now();
    let mut watcher = Server::new(&vendor).watch_with(message.clone()).await.unwrap();
    watcher.news().await;
    let complete = watcher.news().await;
    assert!(!complete.terminal);
    let recording = watcher.news().await;
    assert_eq!(recording.changed_fields.unwrap().paths, ["session_recording_url"]);
    let resume_token = recording.resume_token;
    let (rest, end) = watcher.rest().await;
    assert_eq!(end.code(), Code::Ok);
    let last = rest.last().unwrap();
    assert_eq!((last.event_type(), last.terminal), (EventType::Heartbeat, true));
    assert!((620..630).contains(&start.elapsed().as_secs()));
    // The time to follow does not begin anew with each resume.
    let message = WatchSessionRequest { resume_token, ..message };
    let (rest, _) = Server::new(&vendor).watch_with(message).await.unwrap().rest().await;
    assert!(rest.last().unwrap().terminal);
    assert!(start.elapsed().as_secs() < 640);
}

#[tokio::test(start_paused = true)]
async fn stream_rotation() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let mut ages = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let (messages, end) = server.watch("s").await.rest().await;
        let End::Error(status) = end else { panic!("{end:?}") };
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "STREAM_ROTATED")
        );
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
        assert_eq!(messages.last().unwrap().event_type(), EventType::Heartbeat);
        ages.push(start.elapsed().as_secs());
    }
    assert!(ages.iter().all(|age| (3240..=3961).contains(age)), "{ages:?}");
    ages.dedup();
    assert!(ages.len() > 10, "streams that began together end apart");
}

#[tokio::test(start_paused = true)]
async fn thousand_watchers_one_poller() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (60, "active"), (120, "complete")]);
    let server = Server::new(&vendor);
    let (_, end) = server.watch("s").await.rest().await;
    assert_eq!(end.code(), Code::Ok);
    let alone = vendor.count("s");

    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (60, "active"), (120, "complete")]);
    let server = Server::new(&vendor);
    let mut watchers = Vec::new();
    for _ in 0..1000 {
        watchers.push(server.watch("s").await);
    }
    let polls = server.service.feed.overview();
    assert_eq!((polls.len(), polls[0].watchers), (1, 1000));
    for watcher in &mut watchers {
        let (messages, end) = watcher.rest().await;
        assert_eq!(messages.last().unwrap().session.as_ref().unwrap().status, COMPLETE);
        assert_eq!(end.code(), Code::Ok);
    }
    let together = vendor.count("s");
    assert!(together <= alone + alone / 4, "{together} polls for 1000, {alone} for one");
}

#[tokio::test(start_paused = true)]
async fn attach_during_poll() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let _first = server.watch("s").await;
    vendor.play("s", [Trick::Slow(Duration::from_secs(8))]);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(vendor.count("s"), 2, "the poll is on its way");
    let before = Instant::now();
    let mut second = server.watch("s").await;
    assert_eq!(second.next().await.unwrap().event_type(), EventType::Snapshot);
    assert_eq!(before.elapsed(), Duration::ZERO, "what the poll knows is enough to begin");
    assert_eq!(vendor.count("s"), 2);
}

#[tokio::test(start_paused = true)]
async fn last_detach_stops_polling() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let (first, second) = (server.watch("s").await, server.watch("s").await);
    sleep(Duration::from_secs(20)).await;
    drop(first);
    sleep(Duration::from_secs(20)).await;
    assert!(vendor.count("s") >= 7, "one is still watching");
    drop(second);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.service.feed.overview().len(), 1, "it lingers for those who reconnect");
    let so_far = vendor.count("s");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.service.feed.overview().len(), 0);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(vendor.count("s"), so_far);
}

#[tokio::test(start_paused = true)]
async fn who_reconnects_in_time_finds_the_poll_running() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let mut watcher = server.watch("s").await;
    let token = watcher.next().await.unwrap().resume_token;
    drop(watcher);
    sleep(Duration::from_secs(1)).await;
    server.resume("s", &token).await.next().await.unwrap();
    assert_eq!(vendor.count("s"), 1);
}

#[tokio::test(start_paused = true)]
async fn slow_watcher_alone_suffers() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (20, "active"), (400, "complete")]);
    let server = Server::new(&vendor);
    let mut slow = server.watch("s").await;
    let mut quick = server.watch("s").await;
    slow.next().await.unwrap();
    quick.next().await.unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(200) {
        quick.next().await.unwrap();
    }
    let polls = server.service.feed.overview();
    assert_eq!(polls[0].watchers, 1, "the place of the slow one is taken from it");
    let (messages, end) = slow.rest().await;
    assert!(messages.is_empty());
    assert_eq!((end.code(), end.reason().as_str()), (Code::ResourceExhausted, "SLOW_WATCHER"));
    let (_, end) = quick.rest().await;
    assert_eq!(end.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn credentials_never_share() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active"), (60, "complete")]);
    vendor.owners.lock().unwrap().insert("s".to_owned(), vec!["Bearer owner".to_owned()]);
    let server = Server::new(&vendor);
    let mut owner = server.watch_as("owner", request("s")).await.unwrap();
    owner.next().await.unwrap();
    let stranger = server.watch_as("stranger", request("s")).await;
    assert_eq!(stranger.err().unwrap().code(), Code::NotFound);
    // Nor by the resume token of somebody who may.
    let token = owner.next().await.unwrap().resume_token;
    let message = WatchSessionRequest { resume_token: token, ..request("s") };
    let stranger = server.watch_as("stranger", message).await;
    assert_eq!(stranger.err().unwrap().code(), Code::NotFound);
    let asked = vendor.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|(_, _, credential)| credential == "Bearer stranger"));
}

#[tokio::test(start_paused = true)]
async fn drain_ends_every_watch_with_a_token() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let mut watchers = Vec::new();
    for _ in 0..100 {
        let mut watcher = server.watch("s").await;
        watcher.next().await.unwrap();
        watchers.push(watcher);
    }
    server.service.watches.drain();
    let mut delays = Vec::new();
    for watcher in &mut watchers {
        let (messages, end) = watcher.rest().await;
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].event_type(), EventType::Heartbeat);
        assert!(!messages[0].resume_token.is_empty());
        let End::Error(status) = end else { panic!("{end:?}") };
        assert_eq!(reason(&status), "SERVER_DRAINING");
        delays.push(status.get_details_retry_info().unwrap().retry_delay.unwrap());
    }
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 50, "the clients are told to come back at different times");
    let late = server.watch_with(request("s")).await.err().unwrap();
    assert_eq!(reason(&late), "SERVER_DRAINING");
}

#[tokio::test(start_paused = true)]
async fn too_many_watches_are_refused_with_pushback_and_the_rest_is_unharmed() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::with(&vendor, |_, watch| watch.max_watches = 2);
    let mut first = server.watch("s").await;
    let second = server.watch("s").await;
    let error = server.watch_with(request("s")).await.err().unwrap();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(error.metadata().get("grpc-retry-pushback-ms").is_some());
    first.next().await.unwrap();
    drop(second);
    server.watch("s").await;
}

#[tokio::test(start_paused = true)]
async fn cancel_leaks_nothing() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for round in 0..200_u64 {
        let mut watcher = server.watch("s").await;
        if round % 2 == 0 {
            watcher.next().await.unwrap();
        }
        sleep(Duration::from_millis(round * 7)).await;
    }
    // Cancelled before the first answer, too.
    vendor.play("late", vec![Trick::Slow(Duration::from_mins(1)); 50]);
    for _ in 0..50 {
        let begun = tokio::time::timeout(Duration::from_secs(1), server.watch("late")).await;
        assert!(begun.is_err());
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!(server.service.watches.count(), 0);
    assert_eq!(server.service.feed.overview().len(), 0);
    assert_eq!(tasks(), before);
}
