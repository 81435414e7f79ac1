//! The part of the vendor's quota that this process may use, in both kinds of fleet.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{account::Account, lease::Lease, member, pace::Pace, settings::Identity};

/// The requests that wait for quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Unary calls.
    pub unary: usize,
    /// The callers of these calls.
    pub callers: usize,
    /// Polls with a hint.
    pub hinted: usize,
    /// Other polls.
    pub routine: usize,
}

/// The right to send one request. A replica must send it soon: another one may get the right after
/// that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    until: Option<Instant>,
}

impl Permit {
    pub(super) fn until(until: Instant) -> Self {
        Self { until: Some(until) }
    }

    /// Whether the request may still be sent. A process that was paused finds that it may not.
    pub fn is_valid(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Budget(Kind);

#[derive(Debug)]
enum Kind {
    /// The whole quota.
    Own(Pace),
    /// Permits of the fleet. The task of the member shares the lease.
    Leased(Arc<Mutex<Lease>>),
}

impl Budget {
    pub(super) fn own(rps: f64, burst: u32, now: Instant) -> Self {
        Self(Kind::Own(Pace::new(rps, burst, now)))
    }

    pub(super) fn leased(lease: Arc<Mutex<Lease>>) -> Self {
        Self(Kind::Leased(lease))
    }

    /// Returns when the next request may be sent. Returns `now` if it may be sent at once.
    pub fn ready_at(&mut self, now: Instant) -> Instant {
        match &mut self.0 {
            Kind::Own(pace) => pace.ready_at(now),
            Kind::Leased(lease) => lease.lock().ready_at(now),
        }
    }

    /// Predicts when the `nth` request from now may be sent (1 = the next one), if nothing changes.
    pub fn predict(&mut self, nth: usize, now: Instant) -> Instant {
        match &mut self.0 {
            Kind::Own(pace) => pace.predict(nth, now),
            Kind::Leased(lease) => lease.lock().predict(nth, now),
        }
    }

    /// Counts a request that is sent now. Call this only when a request may be sent.
    pub fn take(&mut self, now: Instant) -> Permit {
        match &mut self.0 {
            Kind::Own(pace) => {
                pace.take(now);
                Permit::default()
            }
            Kind::Leased(lease) => lease.lock().take(now),
        }
    }

    /// Uncounts the request that was counted at `at` but never sent.
    pub fn give_back(&mut self, at: Instant, now: Instant) {
        match &mut self.0 {
            Kind::Own(pace) => pace.give_back(at, now),
            Kind::Leased(lease) => lease.lock().give_back(at, now),
        }
    }

    /// Records a 429.
    pub fn slow_down(&mut self, retry_after: Option<Duration>, now: Instant) {
        match &mut self.0 {
            Kind::Own(pace) => pace.slow_down(retry_after, now),
            Kind::Leased(lease) => lease.lock().slow_down(retry_after, now),
        }
    }

    /// Records any other answer.
    pub fn speed_up(&mut self, now: Instant) {
        match &mut self.0 {
            Kind::Own(pace) => pace.speed_up(now),
            Kind::Leased(lease) => lease.lock().speed_up(now),
        }
    }

    /// Returns the requests per second that are allowed now.
    pub fn rate(&self) -> f64 {
        match &self.0 {
            Kind::Own(pace) => pace.rate(),
            Kind::Leased(lease) => lease.lock().rate(Instant::now()),
        }
    }

    /// Returns the number of requests that this process sent in the last second.
    pub fn used(&self, now: Instant) -> usize {
        match &self.0 {
            Kind::Own(pace) => pace.used(now),
            Kind::Leased(lease) => lease.lock().used(now),
        }
    }

    /// Returns the rest of the vendor's pause.
    pub fn pause(&self, now: Instant) -> Duration {
        match &self.0 {
            Kind::Own(pace) => pace.pause(now),
            Kind::Leased(lease) => lease.lock().pause(now),
        }
    }

    /// Whether it behaves like a new one.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        match &mut self.0 {
            Kind::Own(pace) => pace.is_idle(now),
            Kind::Leased(_) => false,
        }
    }
}

/// The start of the task that keeps a lease supplied.
pub(crate) struct Start {
    lease: Arc<Mutex<Lease>>,
    account: Account,
    identity: Identity,
}

impl Start {
    pub(super) fn new(lease: Arc<Mutex<Lease>>, account: Account, identity: Identity) -> Self {
        Self { lease, account, identity }
    }

    /// Starts the task. It asks `demand` what waits, and notifies `changed` when requests may be
    /// sent. It ends when the handle is dropped.
    pub fn begin(
        self,
        demand: impl Fn() -> Demand + Send + Sync + 'static,
        changed: Arc<Notify>,
    ) -> AbortOnDropHandle<()> {
        member::start(self.lease, self.account, self.identity, demand, changed)
    }
}
