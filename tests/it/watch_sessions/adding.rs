//! Adding sessions: bad ones, one twice, and very many at once.

use std::{sync::atomic::Ordering, time::Duration};

use gotoassist_grpc::{
    proto::{WatchSessionRequest, WatchSessionsRequest, watch_session_response::EventType},
    wire::Kind,
};
use tokio::time::Instant;
use tonic::Code;

use super::{
    desk::{Desk, Told},
    resumed, told,
};
use crate::{
    kit::request,
    watch::world::{Server, Trick, Vendor},
};

#[tokio::test(start_paused = true)]
async fn a_bad_entry_ends_alone_with_the_error_of_a_watch() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting")]);
    vendor.life("other", &[(0, "waiting")]);
    let server = Server::new(&vendor);
    let token = server.watch("other").await.next().await.unwrap().resume_token;
    let asked = vendor.asked.lock().unwrap().len();
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let day_and_more = Some(prost_types::Duration { seconds: 86_401, nanos: 0 });
    let bad = vec![
        request::watch(""),
        request::watch(".."),
        request::watch("a\r\nb"),
        request::watch(&"x".repeat(513)),
        resumed("s", "v1.forged"),
        resumed("s", &token),
        WatchSessionRequest { heartbeat_interval: negative, ..request::watch("s") },
        WatchSessionRequest { follow_after_end: negative, ..request::watch("s") },
        WatchSessionRequest { follow_after_end: day_and_more, ..request::watch("s") },
    ];
    let mut desk = Desk::open(&server).await;
    desk.add_all(bad.clone()).await;
    for bad in bad {
        let expected = server.watch_with(bad.clone()).await.err().unwrap();
        let (session, status) = desk.ended().await;
        assert_eq!((session, told(&status)), (bad.session_id, told(&expected)));
    }
    assert_eq!(vendor.asked.lock().unwrap().len(), asked, "nothing is sent");
    desk.add(&["s"]).await;
    assert_eq!(desk.update().await.1.event_type(), EventType::Snapshot);
}

#[tokio::test(start_paused = true)]
async fn adding_a_session_twice_sends_nothing_and_costs_nothing() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (100, "active")]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    // The second comes before the first answer, the third after it.
    desk.add(&["s", "s"]).await;
    assert_eq!(desk.update().await.1.event_type(), EventType::Snapshot);
    desk.add_all(vec![request::watch("s"), resumed("s", "v1.forged")]).await;
    let (session, update) = desk.update().await;
    assert_eq!((session.as_str(), update.event_type()), ("s", EventType::Changed));
    assert!(vendor.count("s") <= 36, "one poll: {}", vendor.count("s"));
    assert_eq!(desk.heartbeat().await.session_count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_asks_for_nothing_is_refused() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting")]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add(&["s"]).await;
    desk.update().await;
    desk.send(WatchSessionsRequest::default()).await;
    let end = desk.next().await.unwrap_err();
    assert_eq!((end.code(), end.reason().as_str()), (Code::InvalidArgument, "ARGUMENT_INVALID"));
}

/// A thousand sessions at once: the quota paces them, they are told in the order asked, and the
/// calls of others go on meanwhile.
#[tokio::test(start_paused = true)]
async fn a_thousand_at_once_take_their_turns() {
    const COUNT: usize = 1000;
    let vendor = Vendor::new();
    vendor.has_quota.store(true, Ordering::Relaxed);
    let ids: Vec<_> = (0..COUNT).map(|number| format!("s{number}")).collect();
    for id in ids.iter().map(String::as_str).chain(["call"]) {
        vendor.life(id, &[(0, "notStarted")]);
    }
    let server = Server::new(&vendor);
    let start = Instant::now();
    let mut desk = Desk::open(&server).await;
    desk.add(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (number, id) in ids.iter().enumerate() {
        let (session, update) = desk.update().await;
        assert_eq!((&session, update.event_type()), (id, EventType::Snapshot));
        if number % 100 == 50 {
            let start = Instant::now();
            let watch = server.watch_as("other", request::watch("call")).await;
            watch.unwrap();
            assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        }
    }
    let asked = vendor.asked.lock().unwrap();
    let mut times: Vec<_> = asked.iter().map(|(at, ..)| *at).collect();
    times.sort();
    let most = times.windows(17).filter(|window| window[16] - window[0] < Duration::from_secs(1));
    assert_eq!(most.count(), 0, "at most the burst and the rate in a second");
    // One admission in eight goes to the polls of the sessions that are read already.
    let pace = start.elapsed().as_secs_f64() / f64::from(u32::try_from(COUNT).unwrap());
    assert!((0.12..0.18).contains(&pace), "{pace} s for each");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_polled_already_are_told_at_once() {
    let vendor = Vendor::new();
    let server = Server::new(&vendor);
    let ids: Vec<_> = (0..100).map(|number| format!("s{number}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    for id in &ids {
        vendor.life(id, &[(0, "notStarted")]);
    }
    let mut first = Desk::open(&server).await;
    first.add(&ids).await;
    for _ in &ids {
        first.update().await;
    }
    let asked = vendor.asked.lock().unwrap().len();
    let mut second = Desk::open(&server).await;
    let start = Instant::now();
    second.add(&ids).await;
    for id in &ids {
        assert_eq!(second.update().await.0, *id);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(vendor.asked.lock().unwrap().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_answer_holds_up_the_others_for_a_second_at_most() {
    let vendor = Vendor::new();
    for id in ["slow", "one", "two"] {
        vendor.life(id, &[(0, "waiting")]);
    }
    vendor.play("slow", [Trick::Slow(Duration::from_secs(20))]);
    vendor.play("one", [Trick::Slow(Duration::from_millis(500))]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    let start = Instant::now();
    desk.add(&["slow", "one", "two"]).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push((desk.update().await.0, start.elapsed().as_secs()));
    }
    let order: Vec<_> = order.iter().map(|(id, second)| (id.as_str(), *second)).collect();
    assert_eq!(order, [("two", 1), ("one", 1), ("slow", 20)]);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_cannot_be_read_do_not_hold_up_the_others() {
    let vendor = Vendor::new();
    for number in 0..20 {
        let id = format!("hanging-{number}");
        vendor.life(&id, &[(0, "waiting")]);
        vendor.play(&id, [Trick::Slow(Duration::from_hours(1))]);
    }
    vendor.life("well", &[(0, "waiting")]);
    vendor.play("failing", [Trick::Fail(Kind::Internal)]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    desk.add(&["failing"]).await;
    let hanging: Vec<_> = (0..7).map(|number| format!("hanging-{number}")).collect();
    desk.add(&hanging.iter().map(String::as_str).collect::<Vec<_>>()).await;
    desk.add(&["well"]).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(desk.next().await.unwrap().session().to_owned());
    }
    assert_eq!(seen, ["failing", "well"]);
}

#[tokio::test(start_paused = true)]
async fn messages_are_obeyed_in_their_order() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting")]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    for _ in 0..10 {
        desk.add(&["s"]).await;
        desk.remove(&["s"]).await;
    }
    desk.add(&["s"]).await;
    desk.close();
    let (session, update) = desk.update().await;
    assert_eq!((session.as_str(), update.event_type()), ("s", EventType::Snapshot));
    assert!(matches!(desk.any().await, Ok(Told::Heartbeat(_))));
}
