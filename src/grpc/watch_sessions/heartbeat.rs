//! The heartbeat of a stream: how many sessions are on it, and how fresh they are.

use std::{mem, ops::ControlFlow, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use super::entries::{Entries, Ticket};
use crate::{
    grpc::{
        value,
        watch::{HEARTBEAT_DEFAULT, warning_at},
    },
    proto::watch_sessions_response::StreamHeartbeat,
};

/// How many sessions are looked at in one step.
const STEP: usize = 64;

/// When the next heartbeat is due, and the one that is being made.
pub(super) struct Heartbeat {
    interval: Duration,
    due_at: Instant,
    /// When the last one before the caller's deadline is due.
    warning_at: Option<Instant>,
    scan: Option<Scan>,
}

/// A look at all sessions.
struct Scan {
    from: Ticket,
    oldest: Option<Timestamp>,
}

impl Heartbeat {
    pub fn new(deadline: Option<Instant>) -> Self {
        let now = Instant::now();
        let warning_at = deadline.map(|deadline| warning_at(deadline, now));
        let interval = HEARTBEAT_DEFAULT;
        Self { interval, due_at: now + interval, warning_at, scan: None }
    }

    /// Sets the interval, which begins now.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        self.due_at = Instant::now() + interval;
    }

    /// When the next heartbeat is due.
    pub fn due_at(&self) -> Instant {
        self.warning_at.map_or(self.due_at, |warning_at| warning_at.min(self.due_at))
    }

    /// Begins a heartbeat if it is due.
    pub fn check(&mut self, now: Instant) {
        if self.due_at() <= now {
            self.warning_at.take_if(|warning_at| *warning_at <= now);
            self.begin();
        }
    }

    /// Begins a heartbeat.
    pub fn begin(&mut self) {
        self.due_at = Instant::now() + self.interval;
        self.scan = Some(Scan { from: 0, oldest: None });
    }

    /// Whether a heartbeat was begun, and is not ready yet.
    pub fn is_begun(&self) -> bool {
        self.scan.is_some()
    }

    /// Looks at some sessions. Returns the heartbeat after the last one. STALE is repeated for those
    /// that are stale.
    pub fn advance(&mut self, entries: &mut Entries) -> Option<StreamHeartbeat> {
        let Scan { from, oldest } = self.scan.as_mut()?;
        let next = entries.visit(*from, STEP, |member| {
            let observed_at = member.watched.observed_at();
            *oldest = Some(oldest.map_or(observed_at, |oldest| oldest.min(observed_at)));
            if !mem::replace(&mut member.repeats_stale, member.watched.is_stale())
                && member.repeats_stale
            {
                member.bell.ring();
            }
        });
        match next {
            ControlFlow::Continue(next) => {
                *from = next;
                None
            }
            ControlFlow::Break(()) => {
                let oldest = oldest.map(value::timestamp);
                self.scan = None;
                Some(StreamHeartbeat {
                    session_count: i32::try_from(entries.len()).unwrap_or(i32::MAX),
                    oldest_observed_at: oldest,
                })
            }
        }
    }
}
