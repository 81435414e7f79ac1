//! A client that follows all sessions of a random world on one stream.

use std::time::Duration;

use fastrand::Rng;
use gotoassist_grpc::grpc::session::to_proto;
use tokio::time::{Instant, sleep};

use super::{CALM_AFTER, Life, Servers, Told, statuses};
use crate::{
    watch::{ledger::Ledger, world::after_dawn},
    watch_sessions::{
        desk::Desk,
        follower::{Followed, Follower, Open},
    },
};

/// Follows them until all are over.
pub(super) async fn follow(
    mut rng: Rng,
    servers: Servers,
    lives: Vec<Life>,
    is_poisoned: bool,
) -> Result<Told, String> {
    let calm_at = Instant::now() + CALM_AFTER;
    let sessions = lives.into_iter().map(|Life { id, stages }| {
        let own = stages.iter().map(|(_, session)| to_proto(session.clone())).collect();
        Followed::new(id, statuses(&stages), Ledger::of(own))
    });
    let all_since = rng.bool().then(dawn);
    sleep(Duration::from_secs(rng.u64(0..100))).await;
    let follower = Follower {
        rng,
        sessions: sessions.collect(),
        is_poisoned,
        all_since,
        calm_at,
        most: (Duration::from_secs(200), Duration::from_secs(150)),
        received: (0, 0),
        removed: std::collections::VecDeque::new(),
    };
    let open: Open = Box::new(move |rng| {
        let server = rng.choice(&*servers.lock().unwrap()).unwrap().clone();
        Box::pin(async move { Desk::open_as(&server, "owner").await })
    });
    let follower = follower.follow(open).await?;
    Ok(Told { messages: follower.received.0, ..Told::default() })
}

/// The beginning of the world.
fn dawn() -> prost_types::Timestamp {
    let dawn = after_dawn(Duration::ZERO);
    prost_types::Timestamp { seconds: dawn.as_second(), nanos: 0 }
}
