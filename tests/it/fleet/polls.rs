//! One replica polls for all, on paused time.

mod sealed;

use std::{collections::HashMap, sync::Arc, time::Duration};

use gotoassist_grpc::{
    credential::Credential,
    feed::{HintSource, Key},
    proto::{
        SessionStatus, StatusTransition, WatchSessionResponse, watch_session_response::EventType,
    },
    wire::Kind,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    CLOCK, ms,
    poll_store::{Network, Server as Store},
};
use crate::{
    kit::{request, server::Server},
    watch::{
        watcher::{End, Watcher},
        world::{Trick, Vendor},
    },
};

/// Longer than the time until another replica takes over, and one poll.
const HANDOVER: Duration = Duration::from_secs(9);

struct World {
    store: Store,
    vendor: Arc<Vendor>,
    replicas: Vec<(Server, Network)>,
}

impl World {
    async fn new(replicas: usize) -> Self {
        let (store, vendor) = (Store::new(CLOCK), Vendor::new());
        let mut world = Self { store, vendor, replicas: Vec::new() };
        for _ in 0..replicas {
            world.add_replica("key");
        }
        // So that each knows for sure that the others live.
        sleep(ms(2_000)).await;
        world
    }

    fn add_replica(&mut self, key: &str) {
        let network = Network::default();
        network.change(|way| way.delay = ms(2));
        let polls = self.store.polls_with_key(key, &network, self.vendor.clock);
        let server = Server::with(&self.vendor, |feed, _| feed.fleet = polls);
        self.replicas.push((server, network));
    }

    /// A watch of each replica, one after another. Each has read its first message.
    async fn watches(&self, id: &str) -> Vec<Watcher> {
        let mut watches = Vec::new();
        for (server, _) in &self.replicas {
            let mut watch = server.watch(id).await;
            assert_eq!(watch.news().await.session.unwrap().status(), SessionStatus::Waiting);
            watches.push(watch);
            sleep(ms(20)).await;
        }
        watches
    }

    fn session_of_long_life(&self, id: &str) {
        self.vendor.life(id, &[(0, "waiting"), (60, "active"), (3600, "complete")]);
    }

    /// The number of requests for the session within the next `time`.
    async fn polls_within(&self, id: &str, time: Duration) -> usize {
        let before = self.vendor.count(id);
        sleep(time).await;
        self.vendor.count(id) - before
    }
}

/// The later statuses until the end of the watch.
async fn story(mut watch: Watcher) -> Vec<SessionStatus> {
    let (messages, end) = watch.rest().await;
    assert!(matches!(end, End::Ok), "{end:?}");
    let later = messages.iter().flat_map(|message| &message.transitions);
    assert!(later.clone().all(|transition| !transition.inferred), "an answer was lost");
    later.map(StatusTransition::to_status).collect()
}

async fn stories(watches: Vec<Watcher>) -> Vec<Vec<SessionStatus>> {
    let mut stories = Vec::new();
    for watch in watches.into_iter().map(|watch| tokio::spawn(story(watch))).collect::<Vec<_>>() {
        stories.push(watch.await.unwrap());
    }
    stories
}

/// Waits for the next message that is no heartbeat, for `limit` at most.
async fn news(watch: &mut Watcher, limit: Duration) -> WatchSessionResponse {
    timeout(limit, watch.news()).await.expect("no message in time")
}

fn key(id: &str) -> Key {
    let credential = Credential::from_authorization("Bearer t").unwrap();
    Key { credential, session: id.parse().unwrap() }
}

const WHOLE: [SessionStatus; 2] = [SessionStatus::Active, SessionStatus::Complete];

#[tokio::test(start_paused = true)]
async fn one_replica_polls_and_the_watchers_of_all_hear_of_each_change() {
    let world = World::new(3).await;
    world.vendor.life("s", &[(0, "waiting"), (30, "active"), (90, "complete")]);
    let watches = world.watches("s").await;
    assert_eq!(world.vendor.count("s"), 1, "later watches start with the reply of the first");
    let stories = tokio::spawn(stories(watches));
    // Every 3 s while waiting.
    let polls = world.polls_within("s", Duration::from_secs(27)).await;
    assert!((8..=11).contains(&polls), "{polls}");
    for story in stories.await.unwrap() {
        assert_eq!(story, WHOLE);
    }
    assert!(world.vendor.count("s") <= 11 + 14, "{}", world.vendor.count("s"));
}

#[tokio::test(start_paused = true)]
async fn replicas_and_credentials_that_may_not_share_do_not() {
    let mut world = World::new(1).await;
    world.add_replica("other key");
    world.session_of_long_life("s");
    let _watches = world.watches("s").await;
    let _other = world.replicas[0].0.watch_as("u", request::watch("s")).await.unwrap();
    assert_eq!(world.vendor.count("s"), 3);
    let polls = world.polls_within("s", Duration::from_secs(30)).await;
    assert!(polls >= 3 * 8, "{polls}");
    let asked = world.vendor.asked.lock().unwrap();
    let mut by_credential = HashMap::<_, usize>::new();
    for (_, _, credential) in &*asked {
        *by_credential.entry(credential.clone()).or_default() += 1;
    }
    assert!(by_credential["Bearer u"] >= 8, "{by_credential:?}");
}

#[tokio::test(start_paused = true)]
async fn another_replica_takes_over_from_one_that_is_cut_off() {
    let world = World::new(3).await;
    world.vendor.life("s", &[(0, "waiting"), (20, "active"), (80, "complete")]);
    let mut watches = world.watches("s").await;
    sleep(Duration::from_secs(15)).await;
    world.replicas[0].1.change(|way| way.is_cut = true);
    sleep(Duration::from_secs(5)).await;
    for watch in &mut watches {
        let message = news(watch, HANDOVER).await;
        assert_eq!(message.session.unwrap().status(), SessionStatus::Active);
    }
    // The one that is cut off polls too, and the two others share.
    let polls = world.polls_within("s", Duration::from_secs(30)).await;
    assert!((10..=14).contains(&polls), "{polls}");
    world.replicas[0].1.change(|way| way.is_cut = false);
    sleep(Duration::from_secs(3)).await;
    let polls = world.polls_within("s", Duration::from_secs(10)).await;
    assert!(polls <= 3, "{polls}");
    for watch in &mut watches {
        let message = news(watch, Duration::from_secs(40)).await;
        assert_eq!(message.session.unwrap().status(), SessionStatus::Complete);
        assert_eq!(message.transitions.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_drains_hands_over_at_once() {
    let world = World::new(2).await;
    world.session_of_long_life("s");
    let mut watches = world.watches("s").await;
    sleep(Duration::from_secs(10)).await;
    let drained_at = Instant::now();
    world.replicas[0].0.service.watches.drain();
    let before = world.vendor.count("s");
    while world.vendor.count("s") == before {
        sleep(ms(10)).await;
    }
    assert!(drained_at.elapsed() <= ms(3_400), "{:?}", drained_at.elapsed());
    let (_, end) = watches.remove(0).rest().await;
    assert_eq!(end.reason(), "SERVER_DRAINING");
    let polls = world.polls_within("s", Duration::from_secs(30)).await;
    assert!((8..=11).contains(&polls), "{polls}");
}

#[tokio::test(start_paused = true)]
async fn the_last_watcher_of_the_replica_that_polls_leaves_and_another_goes_on() {
    let world = World::new(2).await;
    world.vendor.life("s", &[(0, "waiting"), (40, "active"), (90, "complete")]);
    let mut watches = world.watches("s").await;
    sleep(Duration::from_secs(10)).await;
    drop(watches.remove(0));
    sleep(Duration::from_secs(3)).await;
    let polls = world.polls_within("s", Duration::from_secs(20)).await;
    assert!((5..=8).contains(&polls), "{polls}");
    assert_eq!(stories(watches).await, [WHOLE]);
}

#[tokio::test(start_paused = true)]
async fn lost_messages_lose_no_change() {
    let world = World::new(3).await;
    for (_, network) in &world.replicas {
        network.change(|way| {
            way.loss = 0.6;
            way.delay = ms(300);
        });
    }
    let mut running = Vec::new();
    for number in 0..6 {
        let (id, from) = (format!("s{number}"), 20 + 3 * number);
        world.vendor.life(&id, &[(0, "waiting"), (from, "active"), (from + 8, "complete")]);
        running.push(tokio::spawn(stories(world.watches(&id).await)));
    }
    for session in running {
        for story in session.await.unwrap() {
            assert_eq!(story, WHOLE);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_redis_each_polls_and_with_it_one() {
    let world = World::new(3).await;
    world.session_of_long_life("s");
    let _reading = tokio::spawn(stories(world.watches("s").await));
    sleep(Duration::from_secs(10)).await;
    world.store.set_down(true);
    let polls = world.polls_within("s", Duration::from_secs(30)).await;
    assert!((24..=33).contains(&polls), "{polls}");
    world.store.set_down(false);
    sleep(Duration::from_secs(4)).await;
    let polls = world.polls_within("s", Duration::from_secs(10)).await;
    assert!(polls <= 4, "{polls}");
    // Restarted without its data, and with another clock.
    for jump in [0, 86_400_000_000, -7_200_000_000] {
        world.store.restart(super::poll_store::Data::default(), jump);
        sleep(Duration::from_secs(4)).await;
        let polls = world.polls_within("s", Duration::from_secs(20)).await;
        assert!((3..=8).contains(&polls), "{jump}: {polls}");
    }
    // Emptied, while all stay connected.
    world.store.change_data(|data| *data = super::poll_store::Data::default());
    sleep(Duration::from_secs(6)).await;
    let polls = world.polls_within("s", Duration::from_secs(20)).await;
    assert!((3..=8).contains(&polls), "{polls}");
    // Each is alone after 1.5 s at most. From then on it polls for itself, every 5.5 s at most.
    world.store.pause(Duration::from_secs(20));
    let polls = world.polls_within("s", Duration::from_secs(20)).await;
    assert!(polls >= 9, "{polls}");
    assert!(world.store.age() > Duration::from_mins(1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_redis_is_not_a_redis_that_is_away() {
    let world = World::new(3).await;
    for (_, network) in &world.replicas {
        network.change(|way| way.delay = ms(480));
    }
    world.session_of_long_life("s");
    let _reading = tokio::spawn(stories(world.watches("s").await));
    sleep(Duration::from_secs(10)).await;
    let polls = world.polls_within("s", Duration::from_secs(40)).await;
    assert!((11..=16).contains(&polls), "{polls}");
}

#[tokio::test(start_paused = true)]
async fn hints_reach_the_replica_that_polls() {
    let world = World::new(3).await;
    world.vendor.life("s", &[(0, "waiting"), (10, "active"), (3600, "complete")]);
    let mut watches = world.watches("s").await;
    sleep(Duration::from_secs(20)).await;
    for watch in &mut watches {
        assert_eq!(watch.news().await.session.unwrap().status(), SessionStatus::Active);
    }
    let second = u64::try_from(world.store.age().as_millis() / 1000).unwrap() + 2;
    world.vendor.alter("s", second, |session| session.notes = Some("n".to_owned()));
    sleep(Duration::from_millis(2_100)).await;
    // The vendor calls back at a replica that only follows.
    let feed = &world.replicas[2].0.service.feed;
    feed.hint(&"s".parse().unwrap(), HintSource::Callback);
    for watch in &mut watches {
        let message = news(watch, ms(200)).await;
        assert_eq!(message.session.unwrap().notes(), "n");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_reach_the_vendor_lets_another_poll() {
    let world = World::new(2).await;
    world.session_of_long_life("s");
    let mut watches = world.watches("s").await;
    sleep(Duration::from_secs(10)).await;
    // The first replica polls, and reaches the vendor no more.
    let fails = |server, _: &str, _: &str| match server {
        0 => Trick::Fail(Kind::ConnectFailed),
        _ => Trick::Honest,
    };
    *world.vendor.trickster.lock().unwrap() = Some(Box::new(fails));
    let until_active = Duration::from_mins(1) + HANDOVER;
    for watch in &mut watches {
        let message = news(watch, until_active).await;
        assert_eq!(message.event_type(), EventType::Changed, "nobody is stale");
        assert_eq!(message.session.unwrap().status(), SessionStatus::Active);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_makes_all_stale_and_costs_the_polls_of_one() {
    let world = World::new(3).await;
    world.session_of_long_life("s");
    let mut watches = world.watches("s").await;
    sleep(Duration::from_secs(10)).await;
    let fails = |_, _: &str, _: &str| Trick::Fail(Kind::Unavailable);
    *world.vendor.trickster.lock().unwrap() = Some(Box::new(fails));
    let polls = world.polls_within("s", Duration::from_secs(40)).await;
    assert!((10..=24).contains(&polls), "{polls}");
    *world.vendor.trickster.lock().unwrap() = None;
    for watch in &mut watches {
        assert_eq!(watch.news().await.event_type(), EventType::Stale);
    }
    sleep(Duration::from_secs(40)).await;
    for watch in &mut watches {
        loop {
            let message = watch.news().await;
            if message.event_type() == EventType::Changed {
                assert_eq!(message.session.unwrap().status(), SessionStatus::Active);
                break;
            }
            assert_eq!(message.event_type(), EventType::Stale);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_credential_is_refused_ends_only_its_own_watches() {
    let world = World::new(2).await;
    world.session_of_long_life("s");
    let mut watches = world.watches("s").await;
    sleep(Duration::from_secs(10)).await;
    let refuses = |server, _: &str, _: &str| match server {
        0 => Trick::Fail(Kind::CredentialRejected),
        _ => Trick::Honest,
    };
    *world.vendor.trickster.lock().unwrap() = Some(Box::new(refuses));
    let (_, end) = watches.remove(0).rest().await;
    assert_eq!(end.code(), tonic::Code::Unauthenticated, "{end:?}");
    let message = news(&mut watches[0], Duration::from_mins(1) + HANDOVER).await;
    assert_eq!(message.session.unwrap().status(), SessionStatus::Active);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_be_answered_by_the_poll_of_another_replica() {
    let world = World::new(2).await;
    world.session_of_long_life("s");
    let _watch = world.replicas[0].0.watch("s").await;
    sleep(Duration::from_secs(10)).await;
    let feed = &world.replicas[1].0.service.feed;
    let answer = feed.latest(&key("s"), Duration::from_secs(5)).await.unwrap();
    assert_eq!(answer.content.upstream_status, "waiting");
    let age = world.vendor.clock.now().duration_since(answer.observed_at);
    assert!(age.as_millis() <= 3_500 && age.as_millis() >= 0, "{age:?}");
    assert!(feed.latest(&key("s"), Duration::ZERO).await.is_none(), "too old");
    assert!(feed.latest(&key("t"), Duration::from_secs(5)).await.is_none());
    let mut stranger = key("s");
    stranger.credential = Credential::from_authorization("Bearer u").unwrap();
    assert!(feed.latest(&stranger, Duration::from_secs(5)).await.is_none());
    // Redis must not hold a call up.
    world.replicas[1].1.change(|way| way.delay = Duration::from_secs(1));
    let asked_at = Instant::now();
    feed.latest(&key("s"), Duration::from_secs(5)).await;
    assert!(asked_at.elapsed() <= ms(60), "{:?}", asked_at.elapsed());
}
