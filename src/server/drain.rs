//! Drains the server: first health, then the watches, then the connections. After the grace period
//! it cuts the connections that are still open. At the end it flushes the spans.

use std::time::Duration;

use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::gate::Gate;
use crate::{
    config::serve::LimitsConfig,
    fleet::Fleet,
    grpc::{health::Health, watch::Watches},
    trace::Tracer,
};

/// The part of the grace period that is reserved for cutting connections.
const RESERVE: Duration = Duration::from_millis(500);

/// The part of the grace period that is reserved for the exit of the process.
const EXIT_RESERVE: Duration = Duration::from_millis(100);

/// The longest time between two probes of a load balancer.
const PROBE_INTERVAL: Duration = Duration::from_mins(1);

/// The parts to drain, in this order.
pub(super) struct Parts<'a> {
    pub health: &'a Health,
    pub watches: &'a Watches,
    pub gate: &'a Gate,
    /// Makes the connections send GOAWAY and wait for their in-flight calls.
    pub stop: &'a CancellationToken,
    /// Whether the vendor may send callbacks.
    pub takes_callbacks: bool,
    /// Left at the end, so that the other replicas get the share of this one.
    pub fleet: &'a Fleet,
}

impl Parts<'_> {
    /// Whether a caller or a load balancer must learn of the drain before it goes on: there is a
    /// connection, callbacks may come, or somebody has asked for the health of late.
    fn is_used(&self) -> bool {
        self.gate.open_connections() > 0
            || self.takes_callbacks
            || self.health.was_asked_within(PROBE_INTERVAL)
    }
}

/// Drains. Returns when everything has ended or the grace period is over.
pub(super) async fn drain<T: 'static>(
    parts: Parts<'_>,
    limits: &LimitsConfig,
    tracer: Tracer,
    serving: &mut JoinSet<T>,
) {
    let flush_limit = tracer.flush_limit().min(limits.drain_grace / 4);
    let exit_reserve = EXIT_RESERVE.min(limits.drain_grace / 8);
    let end = Instant::now() + limits.drain_grace.saturating_sub(flush_limit + exit_reserve);
    let soft_end = end.checked_sub(RESERVE.min(limits.drain_grace / 4)).unwrap_or(end);
    info!(watches = parts.watches.count(), "draining");
    parts.health.drain();
    if parts.is_used() {
        sleep(limits.drain_delay.min(limits.drain_grace / 2)).await;
    }
    parts.watches.drain();
    parts.health.close();
    parts.gate.drain();
    parts.stop.cancel();
    if timeout_at(soft_end, ended(serving)).await.is_err() {
        let connections = parts.gate.open_connections();
        warn!(connections, "the grace period is over; cutting the open connections");
        parts.gate.kill();
        if timeout_at(end, ended(serving)).await.is_err() {
            warn!("some calls did not end; exiting without them");
        }
    }
    // Flushing blocks, and the export that it waits for needs a thread of this runtime.
    let flush = spawn_blocking(move || tracer.flush(flush_limit));
    let leave = timeout_at(end + flush_limit.max(exit_reserve / 2), parts.fleet.leave());
    let _ = tokio::join!(flush, leave);
}

async fn ended<T: 'static>(serving: &mut JoinSet<T>) {
    while serving.join_next().await.is_some() {}
}
