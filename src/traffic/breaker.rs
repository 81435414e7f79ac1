//! The circuit breaker. While requests keep failing, it refuses further ones at once for a while.
//!
//! There are three kinds of circuits. The circuit of a **session** opens after failures of that
//! session. The circuit of a **credential** opens after failures of [`SESSIONS_TO_OPEN`] different
//! sessions without a success in between. The circuit for **all** requests opens when no connection
//! can be made. Callers who share the service's credential have separate circuits, so one caller
//! cannot open the circuit of another.
//!
//! A session that fails has a trial after each pause, however many others fail, as long as the vendor
//! answers something for its caller. If nothing of a caller succeeds, its failing sessions take turns.

mod circuit;
mod table;

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    credential::CredentialId,
    wire::{Error, Kind},
};
use circuit::Rule;
use table::Table;

pub(super) use table::CIRCUITS;

/// This many different sessions must fail before the circuit of their credential opens.
const SESSIONS_TO_OPEN: usize = 3;

/// If a caller waited this long and left without an answer, the attempt counts as a failure, but
/// only for callers with an equally short deadline.
const PATIENCE: Duration = Duration::from_secs(1);

/// All circuits of a process.
#[derive(Clone)]
pub(super) struct Breaker(Arc<State>);

struct State {
    rule: Rule,
    table: Mutex<Table>,
}

/// Who asks for what: a caller, and the path of a session or of the links of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub caller: CredentialId,
    /// A hash of the path. The path itself may be long and contains the session id. A caller who
    /// makes hashes collide harms only itself.
    path: u64,
}

/// The right to make one attempt. Its owner reports how the attempt ends.
pub(super) struct Permit {
    breaker: Breaker,
    subject: Subject,
    deadline: Option<Instant>,
    sent_at: Option<Instant>,
    is_settled: bool,
}

impl Subject {
    pub fn new(caller: CredentialId, path: &str) -> Self {
        Self { caller, path: BuildHasherDefault::<DefaultHasher>::default().hash_one(path) }
    }
}

impl Breaker {
    /// Creates a breaker whose circuits open after `failure_limit` failures in a row (0 = never).
    /// `pause` is the first pause of an open circuit.
    pub fn new(failure_limit: u32, pause: Duration) -> Self {
        let rule = Rule { failure_limit, pause };
        Self(Arc::new(State { rule, table: Mutex::default() }))
    }

    /// Allows an attempt to begin. The error says when to try again.
    pub fn enter(&self, subject: Subject, deadline: Option<Instant>) -> Result<Permit, Error> {
        self.0.table.lock().check(subject, deadline, self.0.rule, Instant::now())?;
        Ok(Permit { breaker: self.clone(), subject, deadline, sent_at: None, is_settled: false })
    }
}

impl State {
    /// Applies `change` to the circuits. Sets the gauges if `change` returns true.
    fn update(&self, change: impl FnOnce(&mut Table, Rule, Instant) -> bool) {
        if self.rule.failure_limit > 0 {
            let mut table = self.table.lock();
            if change(&mut table, self.rule, Instant::now()) {
                table.set_gauges();
            }
        }
    }
}

impl Permit {
    /// Reports that the request is sent now. Fails if a circuit opened while the attempt waited for
    /// the quota.
    ///
    /// The attempt becomes the trial of a half-open circuit only now. An attempt that still waits
    /// must not block the trials of others.
    pub fn send(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let State { rule, table } = &*self.breaker.0;
        table.lock().begin(self.subject, self.deadline, *rule, now)?;
        self.sent_at = Some(now);
        Ok(())
    }

    /// Reports how the attempt ended.
    pub fn settle<T>(mut self, outcome: &Result<T, Error>) {
        self.is_settled = true;
        let subject = self.subject;
        self.breaker.0.update(|table, rule, now| {
            match outcome.as_ref().map_err(|error| error.kind) {
                Err(Kind::ConnectFailed) => table.fail_connect(subject, rule, now),
                Err(Kind::Unavailable | Kind::Timeout | Kind::Internal) => {
                    table.fail(subject, rule, now);
                }
                _ => return table.succeed(subject, rule, now),
            }
            true
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(sent_at) = self.sent_at.filter(|_| !self.is_settled) else { return };
        let subject = self.subject;
        self.breaker.0.update(|table, rule, now| {
            table.leave(subject);
            let waited = now.duration_since(sent_at);
            if waited >= PATIENCE {
                table.fail_short_deadline(subject, waited, rule, now);
            }
            true
        });
    }
}
