//! The ends of watches, and what many watches share.

use std::time::Duration;

use gotoassist_grpc::proto::{
    WatchSessionRequest, WatchSessionResponse, watch_session_response::EventType,
};
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    COMPLETE,
    world::{End, Server, Trick, Vendor},
};
use crate::kit::{reason, request, request::authorized};

#[tokio::test(start_paused = true)]
async fn heartbeat_before_deadline_and_the_deadline_ends_the_stream_on_time() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    let start = Instant::now();
    let mut request = authorized("t", request::watch("s"));
    request.metadata_mut().insert("grpc-timeout", "7300m".parse().unwrap());
    let mut watcher = server.watch_request(request).await.unwrap();
    let (messages, end) = watcher.rest().await;
    let kinds: Vec<_> = messages.iter().map(WatchSessionResponse::event_type).collect();
    assert_eq!(kinds, [EventType::Snapshot, EventType::Heartbeat]);
    assert_eq!((end.code(), end.reason().as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    let late = start.elapsed().saturating_sub(Duration::from_millis(7300));
    assert!(late < Duration::from_millis(10), "{late:?} late");
    let resumed = server.resume("s", &messages[1].resume_token).await.next().await.unwrap();
    assert_eq!(resumed.event_type(), EventType::Heartbeat);
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
        // A watch of a finished session gets one terminal snapshot.
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
    let message = WatchSessionRequest { follow_after_end: Some(follow), ..request::watch("s") };
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
    // A resume does not restart the time of `follow_after_end`.
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
    let mut owner = server.watch_as("owner", request::watch("s")).await.unwrap();
    owner.next().await.unwrap();
    let stranger = server.watch_as("stranger", request::watch("s")).await;
    assert_eq!(stranger.err().unwrap().code(), Code::NotFound);
    // A resume token of the owner does not help either.
    let token = owner.next().await.unwrap().resume_token;
    let message = WatchSessionRequest { resume_token: token, ..request::watch("s") };
    let stranger = server.watch_as("stranger", message).await;
    assert_eq!(stranger.err().unwrap().code(), Code::NotFound);
    let asked = vendor.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|(_, _, credential)| credential == "Bearer stranger"));
}

#[tokio::test(start_paused = true)]
async fn who_gets_in_at_the_very_moment_of_a_drain_hears_of_it_too() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::new(&vendor);
    // This is the state for a watch that was admitted before the drain and subscribes after it.
    server.service.feed.close();
    for _ in 0..2 {
        let (messages, end) = server.watch("s").await.rest().await;
        let kinds: Vec<_> = messages.iter().map(WatchSessionResponse::event_type).collect();
        assert_eq!(kinds, [EventType::Snapshot, EventType::Heartbeat]);
        assert_eq!((end.code(), end.reason().as_str()), (Code::Unavailable, "SERVER_DRAINING"));
    }
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
    let late = server.watch_with(request::watch("s")).await.err().unwrap();
    assert_eq!(reason(&late), "SERVER_DRAINING");
}

#[tokio::test(start_paused = true)]
async fn too_many_watches_are_refused_with_pushback_and_the_rest_is_unharmed() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "active")]);
    let server = Server::with(&vendor, |_, watch| watch.max_watches = 2);
    let mut first = server.watch("s").await;
    let second = server.watch("s").await;
    let error = server.watch_with(request::watch("s")).await.err().unwrap();
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
    // These watches are cancelled before the first answer.
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
