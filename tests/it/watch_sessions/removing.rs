//! Removing sessions.

use std::time::Duration;

use gotoassist_grpc::proto::watch_session_response::EventType;
use tokio::time::timeout;
use tonic::Code;

use super::desk::Desk;
use crate::watch::world::{Server, Trick, Vendor};

#[tokio::test(start_paused = true)]
async fn a_removed_session_is_silent_and_its_poll_ends() {
    let vendor = Vendor::new();
    vendor.life("gone", &[(0, "waiting"), (50, "active")]);
    vendor.life("here", &[(0, "waiting"), (100, "active")]);
    let server = Server::new(&vendor);
    let mut desk = Desk::open(&server).await;
    desk.add(&["gone", "here"]).await;
    desk.update().await;
    desk.update().await;
    desk.remove(&["gone", "never there", ""]).await;
    assert_eq!(desk.heartbeat().await.session_count, 1);
    assert_eq!(server.service.watches.count(), 1);
    let polls = server.service.feed.overview();
    assert_eq!(polls.len(), 1, "{polls:?}");
    let asked = vendor.count("gone");
    let (session, update) = desk.update().await;
    assert_eq!((session.as_str(), update.event_type()), ("here", EventType::Changed));
    assert_eq!(vendor.count("gone"), asked);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_removed_before_its_turn_is_never_read() {
    let vendor = Vendor::new();
    for number in 0..20 {
        let id = format!("s{number}");
        vendor.life(&id, &[(0, "waiting")]);
        vendor.play(&id, [Trick::Slow(Duration::from_secs(5))]);
    }
    let server = Server::new(&vendor);
    let mut desk = Desk::open(&server).await;
    let ids: Vec<_> = (0..20).map(|number| format!("s{number}")).collect();
    desk.add(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let nothing = timeout(Duration::from_secs(1), desk.next()).await;
    assert!(nothing.is_err());
    // The first eight are being read, and their requests are cancelled.
    desk.remove(&ids[..19].iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (session, _) = desk.update().await;
    assert_eq!(session, "s19");
    let asked = vendor.asked.lock().unwrap().len();
    assert_eq!(asked, 9);
    assert_eq!(server.service.watches.count(), 1);
    assert_eq!(server.service.feed.overview().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_session_can_be_added_again() {
    let vendor = Vendor::new();
    vendor.life("s", &[(0, "waiting"), (100, "active")]);
    let mut desk = Desk::open(&Server::new(&vendor)).await;
    for _ in 0..3 {
        desk.add(&["s"]).await;
        assert_eq!(desk.update().await.1.event_type(), EventType::Snapshot);
        desk.remove(&["s"]).await;
    }
    desk.close();
    assert_eq!(desk.next().await.unwrap_err().code(), Code::Ok);
}
