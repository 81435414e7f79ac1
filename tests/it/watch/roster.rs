//! Rosters: the sessions of an account, found by the vendor's list, on paused time.

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::{credential::Credential, feed::Roster, wire::Kind};
use tokio::time::{Instant, timeout};

use super::{
    until,
    world::{Listing, Server, Vendor, after_dawn},
};

fn vendor(choose: impl FnMut() -> Listing + Send + 'static) -> Arc<Vendor> {
    let vendor = Vendor::new();
    *vendor.lister.lock().unwrap() = Some(Box::new(choose));
    vendor
}

fn roster(server: &Server, token: &str, second: u64) -> Roster {
    let credential = Credential::from_authorization(&format!("Bearer {token}")).unwrap();
    let since = after_dawn(Duration::from_secs(second));
    server.service.feed.roster(&credential, since).unwrap()
}

async fn next(roster: &mut Roster) -> Vec<String> {
    let found = timeout(Duration::from_mins(1), roster.next()).await;
    let mut found: Vec<_> =
        found.unwrap().unwrap().iter().map(|found| found.session.as_str().to_owned()).collect();
    found.sort();
    found
}

#[tokio::test(start_paused = true)]
async fn a_roster_finds_open_sessions_and_those_that_come_and_go_later() {
    let vendor = vendor(Listing::default);
    vendor.life("new", &[(0, "notStarted"), (20, "waiting")]);
    vendor.life("open", &[(0, "waiting")]);
    vendor.life("over", &[(0, "waiting"), (1, "abandoned")]);
    let (server, start) = (Server::new(&vendor), Instant::now());
    until(start, 5).await;
    let mut roster = roster(&server, "t", 5);
    assert_eq!(next(&mut roster).await, ["new", "open"]);
    assert!(start.elapsed() < Duration::from_secs(6), "the first reading comes at once");
    until(start, 30).await;
    vendor.life("brief", &[(31, "waiting"), (31, "active"), (32, "complete")]);
    assert_eq!(next(&mut roster).await, ["brief"]);
    assert!(start.elapsed() < Duration::from_secs(33));
    let more = timeout(Duration::from_mins(30), roster.next()).await;
    assert!(more.is_err(), "each session is found once");
    let read = vendor.listed.lock().unwrap().len();
    assert!((800..1_000).contains(&read), "the list is read every two seconds: {read}");
    drop(roster);
    until(start, 4_000).await;
    let later = vendor.listed.lock().unwrap().len();
    assert!(later <= read + 1, "nobody needs the list any more: {later}");
}

#[tokio::test(start_paused = true)]
async fn a_roster_shows_nothing_of_another_account() {
    let vendor = vendor(Listing::default);
    vendor.life("own", &[(0, "waiting")]);
    vendor.life("foreign", &[(0, "waiting")]);
    vendor.owners.lock().unwrap().insert("foreign".to_owned(), vec!["Bearer other".to_owned()]);
    let server = Server::new(&vendor);
    let (mut ours, mut theirs) = (roster(&server, "t", 0), roster(&server, "other", 0));
    assert_eq!(next(&mut ours).await, ["own"]);
    assert_eq!(next(&mut theirs).await, ["foreign", "own"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_is_read_again_and_a_refused_one_ends_the_roster() {
    let mut failures = [Kind::Unavailable, Kind::Malformed].into_iter();
    let listing = move || Listing { failure: failures.next(), ..Listing::default() };
    let vendor = vendor(listing);
    vendor.life("1", &[(0, "waiting")]);
    let (server, start) = (Server::new(&vendor), Instant::now());
    let mut roster = roster(&server, "t", 0);
    assert_eq!(next(&mut roster).await, ["1"]);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let refused = || Listing { failure: Some(Kind::PermissionDenied), ..Listing::default() };
    *vendor.lister.lock().unwrap() = Some(Box::new(refused));
    let end = timeout(Duration::from_mins(1), roster.next()).await.unwrap();
    assert_eq!(end.err().unwrap().kind, Kind::PermissionDenied);
}
