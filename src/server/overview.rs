//! Collects the state of the service for the operator.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, interval};

use super::{gate::Gate, metric};
use crate::{
    admin::{
        failures::Failures,
        snapshot::{self, Poll, Snapshot, Upstream},
    },
    callback::Callbacks,
    grpc::{
        Service,
        health::{self, Health},
    },
    model::Status,
};

/// How often health and gauges are updated.
const ROUND: Duration = Duration::from_secs(2);

/// The sources of the snapshot.
#[derive(Clone, Debug)]
pub(super) struct Overview {
    pub service: Service,
    pub health: Health,
    pub gate: Gate,
    pub failures: Failures,
    pub callbacks: Option<Callbacks>,
    pub started_at: Instant,
}

impl Overview {
    /// Returns the current state of the service.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.service.clock.now();
        let age = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
        let polls = self.service.feed.overview();
        let listed_polls = polls.iter().filter(|poll| poll.is_listed).count();
        let polls = polls.into_iter().map(|poll| Poll {
            session_digest: self.service.session_digests.of(&poll.session).to_string(),
            status: if poll.status == Status::Unknown { "unknown" } else { poll.status.name() },
            watchers: poll.watchers,
            is_stale: poll.is_stale,
            age: age(poll.observed_at),
        });
        let quota = self.service.client.quota().snapshot();
        let traffic = self.service.client.stats();
        Snapshot {
            is_ready: self.health.is_ready(),
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.started_at.elapsed(),
            connections: self.gate.open_connections(),
            watchers: self.service.watches.count(),
            upstream: Upstream {
                is_serving: traffic.is_well(),
                requests_per_second: quota.rate,
                requests: traffic.requests(),
                failed_requests: traffic.failed(),
                waiting: quota.waiting_unary + quota.waiting_watches,
                last_answer_age: traffic.latest_answer().map(age),
            },
            fleet: self.service.client.quota().fleet().standing().map(|standing| snapshot::Fleet {
                is_joined: standing.is_joined,
                replicas: standing.replicas,
                silent: standing.silent,
                share: standing.share,
            }),
            callbacks: self.callbacks.as_ref().map(|callbacks| {
                let received = callbacks.received();
                snapshot::Callbacks { received: received.callbacks, latest_age: received.age }
            }),
            polls: polls.collect(),
            listed_polls,
            failures: self.failures.latest(),
        }
    }

    /// Keeps the health of `upstream` and the gauges up to date. Runs until it is dropped.
    pub async fn follow(&self) {
        let mut rounds = interval(ROUND);
        loop {
            rounds.tick().await;
            self.health.set(health::UPSTREAM, self.service.client.stats().is_well());
            self.service.client.set_gauges();
            self.service.feed.set_gauges();
            metric::set_gauges();
        }
    }
}
