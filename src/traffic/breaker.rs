//! The circuit breaker: what keeps failing is refused at once for a while instead of being asked.
//!
//! There are three kinds of circuits. One of a **session** opens after failures of that session.
//! One of a **credential** opens after failures of [`SESSIONS_TO_OPEN`] different sessions without a
//! success in between. The one for **all** opens when no connection can be had. Callers who share
//! the service's credential have circuits of their own, so none of them can open another's.

mod circuit;
mod recent;
mod table;

use std::{
    hash::{BuildHasher as _, RandomState},
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

/// So many different sessions must fail before it is the credential that fails.
const SESSIONS_TO_OPEN: usize = 3;

/// A caller who left after waiting this long had no answer to expect. That counts as a failure for
/// callers who have no more time than that.
const PATIENCE: Duration = Duration::from_secs(1);

/// All circuits of a process.
#[derive(Clone)]
pub(super) struct Breaker(Arc<State>);

struct State {
    rule: Rule,
    hasher: RandomState,
    table: Mutex<Table>,
}

/// Who asks for what: a session, or the links of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub caller: CredentialId,
    /// A hash of the path, which may be long and names the session.
    path: u64,
}

/// The right to one attempt. It must be told how the attempt ends.
pub(super) struct Permit {
    breaker: Breaker,
    subject: Subject,
    deadline: Option<Instant>,
    sent_at: Option<Instant>,
    is_settled: bool,
}

impl Breaker {
    /// Opens a circuit after `failure_limit` failures in a row (0 = never), for `pause` at first.
    pub fn new(failure_limit: u32, pause: Duration) -> Self {
        let rule = Rule { failure_limit, pause };
        Self(Arc::new(State { rule, hasher: RandomState::new(), table: Mutex::default() }))
    }

    /// What `caller` asks for by `path`.
    pub fn subject(&self, caller: CredentialId, path: &str) -> Subject {
        Subject { caller, path: self.0.hasher.hash_one(path) }
    }

    /// Lets an attempt begin, or says when it is worth asking again.
    pub fn enter(&self, subject: Subject, deadline: Option<Instant>) -> Result<Permit, Error> {
        self.0.table.lock().check(subject, deadline, Instant::now())?;
        Ok(Permit { breaker: self.clone(), subject, deadline, sent_at: None, is_settled: false })
    }
}

impl State {
    /// Changes circuits, and shows them if `change` says that it changed any.
    fn update(&self, change: impl FnOnce(&mut Table, Rule, Instant) -> bool) {
        if self.rule.failure_limit > 0 {
            let mut table = self.table.lock();
            if change(&mut table, self.rule, Instant::now()) {
                table.show();
            }
        }
    }
}

impl Permit {
    /// What the attempt asks for.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Says that the attempt goes out now, unless a circuit has opened while it waited for quota.
    /// Takes the trial of a half-open circuit only now: an attempt that still waits for quota must
    /// not keep others from it.
    pub fn send(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.breaker.0.table.lock().begin(self.subject, self.deadline, now)?;
        self.sent_at = Some(now);
        Ok(())
    }

    /// Says how the attempt ended.
    pub fn settle<T>(mut self, outcome: &Result<T, Error>) {
        self.is_settled = true;
        let subject = self.subject;
        self.breaker.0.update(|table, rule, now| {
            match outcome.as_ref().map_err(|error| error.kind) {
                Err(Kind::ConnectFailed) => table.fail_connect(subject, rule, now),
                Err(Kind::Unavailable | Kind::Timeout | Kind::Internal) => {
                    table.fail(subject, rule, now);
                }
                _ => return table.succeed(subject, now),
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
                table.fail_impatient(subject, waited, rule, now);
            }
            true
        });
    }
}
