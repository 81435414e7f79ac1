//! The messages of the sessions on a stream.

use std::time::Duration;

use gotoassist_grpc::{
    proto::{WatchSessionRequest, watch_session_response::EventType},
    wire::Kind,
};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{
    desk::{Desk, Told},
    resumed, told, types,
};
use crate::{
    kit::request,
    watch::world::{Server, Trick, Vendor},
};

#[tokio::test(start_paused = true)]
async fn each_session_is_told_from_its_snapshot_to_its_end() {
    let vendor = Vendor::new();
    vendor.life("one", &[(0, "waiting"), (30, "active"), (60, "complete")]);
    vendor.life("two", &[(0, "active"), (40, "complete")]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add(&["one", "two"]).await;
    let mut story = Vec::new();
    desk.close();
    let (messages, end) = desk.rest().await;
    for message in &messages {
        story.push(match message {
            Told::Update(session, update) => {
                let status = update.session.as_ref().unwrap().upstream_status.clone();
                assert!(!update.resume_token.is_empty());
                assert_eq!(update.terminal, status == "complete");
                (session.as_str(), update.event_type().as_str_name(), status)
            }
            Told::Ended(session, status) => {
                assert_eq!(status.code(), Code::Ok);
                (session.as_str(), "ended", String::new())
            }
            Told::Heartbeat(_) => unreachable!("left out"),
        });
    }
    let story: Vec<_> = story.iter().map(|(id, kind, status)| (*id, *kind, &**status)).collect();
    assert_eq!(
        story,
        [
            ("one", "EVENT_TYPE_SNAPSHOT", "waiting"),
            ("two", "EVENT_TYPE_SNAPSHOT", "active"),
            ("one", "EVENT_TYPE_CHANGED", "active"),
            ("two", "EVENT_TYPE_CHANGED", "complete"),
            ("two", "ended", ""),
            ("one", "EVENT_TYPE_CHANGED", "complete"),
            ("one", "ended", ""),
        ]
    );
    assert_eq!(end.code(), Code::Ok);
}

/// The messages of a session on a stream of its own, and on a stream with others, without the
/// heartbeats for silence.
#[tokio::test(start_paused = true)]
async fn a_session_is_told_the_same_as_on_a_stream_of_its_own() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (33, "complete"), (80, "complete")]);
    vendor.alter("s", 20, |session| session.notes = Some("a note".to_owned()));
    vendor.alter("s", 60, |session| session.notes = Some("late".to_owned()));
    vendor.life("other", &[(0, "active")]);
    let server = Server::new(&vendor);
    let follow = Some(prost_types::Duration { seconds: 100, nanos: 0 });
    let message = WatchSessionRequest { follow_after_end: follow, ..request::watch("s") };
    let mut watcher = server.watch_with(message.clone()).await.unwrap();
    let mut desk = Desk::open(&server).await;
    desk.add_all(vec![message, request::watch("other")]).await;

    let own = async {
        let (updates, end) = watcher.rest().await;
        assert_eq!(end.code(), Code::Ok);
        updates
    };
    let shared = async {
        let mut updates = Vec::new();
        loop {
            match desk.next().await.unwrap() {
                Told::Update(session, update) if session == "s" => updates.push(*update),
                Told::Update(..) | Told::Heartbeat(_) => {}
                Told::Ended(session, status) => {
                    assert_eq!((session.as_str(), status.code()), ("s", Code::Ok));
                    return updates;
                }
            }
        }
    };
    let (mut expected, updates) = tokio::join!(own, shared);
    expected.retain(|update| update.event_type() != EventType::Heartbeat || update.terminal);
    assert!(expected.len() > 3);
    assert_eq!(types(&updates), types(&expected));
    for (update, expected) in updates.iter().zip(&expected) {
        assert_eq!(update.transitions, expected.transitions);
        assert_eq!(update.changed_fields, expected.changed_fields);
        assert_eq!(update.session, expected.session);
        assert_eq!(update.terminal, expected.terminal);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_is_told_only_what_it_missed() {
    let vendor = Vendor::new();
    for id in ["same", "changed", "over", "gone"] {
        vendor.life(id, &[(0, "waiting"), (1000, "active")]);
    }
    vendor.life("changed", &[(0, "waiting"), (100, "active")]);
    vendor.life("over", &[(0, "waiting"), (100, "complete")]);
    let mut first = Desk::open(&Server::new(&vendor)).await;
    first.add(&["same", "changed", "over"]).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let (session, update) = first.update().await;
        tokens.push(resumed(&session, &update.resume_token));
    }
    drop(first);
    sleep(Duration::from_secs(200)).await;

    let mut second = Desk::open(&Server::new(&vendor)).await;
    second.add_all(tokens).await;
    second.close();
    let (session, update) = second.update().await;
    assert_eq!((session.as_str(), update.event_type()), ("same", EventType::Heartbeat));
    let (session, update) = second.update().await;
    assert_eq!((session.as_str(), update.event_type()), ("changed", EventType::Changed));
    assert_eq!(update.transitions.len(), 1);
    let (session, update) = second.update().await;
    assert_eq!((session.as_str(), update.event_type()), ("over", EventType::Changed));
    assert_eq!(update.transitions.len(), 2, "it was active in between");
    assert!(update.terminal);
    let (session, status) = second.ended().await;
    assert_eq!((session.as_str(), status.code()), ("over", Code::Ok));
}

#[tokio::test(start_paused = true)]
async fn what_one_session_suffers_ends_it_alone_with_the_status_of_a_watch() {
    let vendor = Vendor::new();
    vendor.life("well", &[(0, "waiting"), (300, "active")]);
    let server = Server::new(&vendor);
    let mut desk = Desk::open(&server).await;
    desk.add(&["well"]).await;
    desk.update().await;
    let kinds = [
        Kind::NotFound,
        Kind::PermissionDenied,
        Kind::Malformed,
        Kind::Unavailable,
        Kind::RejectedArgument,
        Kind::RateLimited,
        Kind::Redirect,
    ];
    for kind in kinds {
        let id = format!("{kind:?}");
        vendor.life(&id, &[(0, "waiting")]);
        vendor.play(&id, [Trick::Fail(kind), Trick::Fail(kind)]);
        let expected = server.watch_with(request::watch(&id)).await.err().unwrap();
        desk.add(&[&id]).await;
        let (session, status) = desk.ended().await;
        assert_eq!(session, id);
        assert_eq!(told(&status), told(&expected));
    }
    let (session, update) = desk.update().await;
    assert_eq!((session.as_str(), update.transitions.len()), ("well", 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_lost_under_way_ends_alone_and_can_be_added_again() {
    let vendor = Vendor::new();
    vendor.life("lost", &[(0, "waiting"), (100, "active")]);
    vendor.life("well", &[(0, "waiting"), (300, "active")]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add(&["lost", "well"]).await;
    let (_, update) = desk.update().await;
    desk.update().await;
    vendor.play("lost", [Trick::Fail(Kind::NotFound), Trick::Fail(Kind::NotFound)]);
    let (session, status) = desk.ended().await;
    assert_eq!((session.as_str(), status.code()), ("lost", Code::NotFound));
    desk.add_all(vec![resumed("lost", &update.resume_token)]).await;
    let (session, update) = desk.update().await;
    assert_eq!((session.as_str(), update.event_type()), ("lost", EventType::Heartbeat));
    let (session, _) = desk.update().await;
    assert_eq!(session, "lost");
    let (session, _) = desk.update().await;
    assert_eq!(session, "well");
}

#[tokio::test(start_paused = true)]
async fn a_finished_session_is_one_terminal_snapshot_and_an_end() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "complete")]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add(&["s"]).await;
    let (_, update) = desk.update().await;
    assert!(update.terminal && update.event_type() == EventType::Snapshot);
    assert_eq!(desk.ended().await.1.code(), Code::Ok);
    desk.close();
    assert_eq!(desk.next().await.unwrap_err().code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn the_time_to_follow_a_session_passes_for_each_session_by_itself() {
    let vendor = Vendor::new();
    let start = Instant::now();
    for id in ["zero", "long", "short"] {
        vendor.life(id, &[(0, "waiting"), (20, "complete")]);
    }
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    let follow = |id, seconds| WatchSessionRequest {
        follow_after_end: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..request::watch(id)
    };
    desk.add_all(vec![follow("zero", 0), follow("long", 200), follow("short", 50)]).await;
    desk.close();
    let mut ends = Vec::new();
    let mut terminal = Vec::new();
    while let Ok(told) = desk.next().await {
        match told {
            Told::Update(session, update) if update.terminal => {
                terminal.push((session, update.event_type()));
            }
            Told::Ended(session, _) => ends.push((session, start.elapsed().as_secs())),
            Told::Update(..) | Told::Heartbeat(_) => {}
        }
    }
    let types: Vec<_> = terminal.iter().map(|(id, kind)| (id.as_str(), *kind)).collect();
    assert_eq!(
        types,
        [
            ("zero", EventType::Changed),
            ("short", EventType::Heartbeat),
            ("long", EventType::Heartbeat)
        ]
    );
    let at = |name: &str| ends.iter().find(|(id, _)| id == name).unwrap().1;
    assert!(at("zero") < 30 && (70..80).contains(&at("short")), "{ends:?}");
    assert!((220..230).contains(&at("long")), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_chatty_session_does_not_hold_up_a_quiet_one() {
    let vendor = Vendor::new();
    vendor.life("quiet", &[(0, "active")]);
    vendor.alter("quiet", 100, |session| session.notes = Some("now".to_owned()));
    vendor.life("chatty", &[(0, "active")]);
    for second in 1..400 {
        vendor.alter("chatty", second, |session| session.notes = Some(second.to_string()));
    }
    let start = Instant::now();
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add(&["quiet", "chatty"]).await;
    desk.update().await;
    desk.update().await;
    loop {
        let (session, _) = desk.update().await;
        if session == "quiet" {
            break;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(107), "{:?}", start.elapsed());
}
