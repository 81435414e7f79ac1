//! A client that follows all sessions of a soak on one stream.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fastrand::Rng;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::CallStats;
use crate::{
    watch::ledger::Ledger,
    watch_sessions::{
        desk::Desk,
        follower::{Followed, Follower, Open},
    },
};

/// A client of these sessions, each with its statuses.
pub(super) fn follower(
    rng: Rng,
    sessions: Vec<(String, Vec<i32>)>,
    calm_at: Instant,
    span: Duration,
) -> Follower {
    let sessions = sessions.into_iter();
    let sessions = sessions.map(|(id, truth)| Followed::new(id, truth, Ledger::default()));
    Follower {
        rng,
        sessions: sessions.collect(),
        is_poisoned: false,
        all_since: None,
        calm_at,
        most: (span, Duration::from_secs(1)),
        received: (0, 0),
        removed: std::collections::VecDeque::new(),
    }
}

/// Follows them until all are over.
pub(super) async fn follow(
    follower: Follower,
    channel: Channel,
    call_stats: Arc<CallStats>,
) -> Result<(), String> {
    let open: Open = Box::new(move |_| {
        let channel = channel.clone();
        Box::pin(async move { Desk::connect(&channel).await })
    });
    let follower = follower.follow(open).await?;
    call_stats.messages.fetch_add(follower.received.0, Ordering::Relaxed);
    call_stats.streams.fetch_add(follower.received.1, Ordering::Relaxed);
    call_stats.transitions.fetch_add(follower.transitions(), Ordering::Relaxed);
    Ok(())
}
