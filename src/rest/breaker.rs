//! The circuit breaker: while the vendor is down, calls fail at once instead of waiting for it.
//!
//! Failures to connect open one circuit for all, since no credential has a part in them; what
//! comes back over a connection counts for the credential alone that asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::{CredentialId, Error, Kind, lock};

/// Longest pause between two trials.
const PAUSE_LIMIT: Duration = Duration::from_mins(1);

/// Credentials with failures that are remembered at the same time.
const CREDENTIAL_LIMIT: usize = 10_000;

/// Who left after waiting this long had no answer to expect: that is a failure too, or callers
/// with short deadlines would wait for a dead vendor for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// All circuits of a process.
#[derive(Clone)]
pub(super) struct Breaker(Arc<State>);

struct State {
    rule: Rule,
    circuits: Mutex<Circuits>,
}

#[derive(Clone, Copy)]
struct Rule {
    failure_limit: u32,
    pause: Duration,
}

/// The circuits that are not as good as new.
#[derive(Default)]
struct Circuits {
    connect: Circuit,
    credentials: HashMap<CredentialId, Circuit>,
}

#[derive(Clone, Copy, Default)]
struct Circuit {
    failures: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy)]
struct Open {
    until: Instant,
    pause: Duration,
    is_probed: bool,
}

/// The right to one attempt, whose end it must be told. Dropped without that, it counts as a
/// failure only if it was on its way for long.
pub(super) struct Permit {
    breaker: Breaker,
    credential: CredentialId,
    sent_at: Option<Instant>,
    probes_connect: bool,
    probes_credential: bool,
    is_settled: bool,
}

impl Breaker {
    /// Opens after `failure_limit` failures in a row (0 = never), for `pause` at first.
    pub fn new(failure_limit: u32, pause: Duration) -> Self {
        Self(Arc::new(State { rule: Rule { failure_limit, pause }, circuits: Mutex::default() }))
    }

    /// Lets an attempt through, or says when it is worth asking again.
    pub fn enter(&self, credential: CredentialId) -> Result<Permit, Error> {
        let now = Instant::now();
        let mut circuits = lock(&self.0.circuits);
        let probes_connect = circuits.connect.enter(now)?;
        let probes_credential = match circuits.credentials.get_mut(&credential) {
            None => false,
            Some(circuit) => match circuit.enter(now) {
                Ok(probes) => probes,
                Err(error) => {
                    circuits.connect.leave(probes_connect);
                    return Err(error);
                }
            },
        };
        Ok(Permit {
            breaker: self.clone(),
            credential,
            sent_at: None,
            probes_connect,
            probes_credential,
            is_settled: false,
        })
    }
}

impl Permit {
    /// Says that the attempt goes out now, unless a circuit opened while it waited for quota.
    pub fn send(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        {
            let circuits = lock(&self.breaker.0.circuits);
            if !self.probes_connect {
                circuits.connect.check(now)?;
            }
            if !self.probes_credential
                && let Some(circuit) = circuits.credentials.get(&self.credential)
            {
                circuit.check(now)?;
            }
        }
        self.sent_at = Some(now);
        Ok(())
    }

    /// Says how the attempt ended.
    pub fn settle<T>(mut self, outcome: &Result<T, Error>) {
        self.is_settled = true;
        match outcome.as_ref().map_err(|error| error.kind) {
            Err(Kind::ConnectFailed) => self.failed_to_connect(),
            Err(Kind::Unavailable | Kind::Timeout | Kind::Internal) => self.failed(),
            _ => self.succeeded(),
        }
    }

    fn failed_to_connect(&self) {
        let State { rule, circuits } = &*self.breaker.0;
        let mut circuits = lock(circuits);
        circuits.connect.fail(*rule);
        // The attempt said nothing about the credential.
        if let Some(circuit) = circuits.credentials.get_mut(&self.credential) {
            circuit.leave(self.probes_credential);
        }
    }

    fn failed(&self) {
        let State { rule, circuits } = &*self.breaker.0;
        let mut circuits = lock(circuits);
        circuits.connect = Circuit::default();
        if circuits.credentials.len() >= CREDENTIAL_LIMIT {
            circuits.credentials.retain(|_, circuit| circuit.open.is_some());
        }
        if circuits.credentials.len() < CREDENTIAL_LIMIT {
            circuits.credentials.entry(self.credential).or_default().fail(*rule);
        }
    }

    fn succeeded(&self) {
        let mut circuits = lock(&self.breaker.0.circuits);
        circuits.connect = Circuit::default();
        if !circuits.credentials.is_empty() {
            circuits.credentials.remove(&self.credential);
        }
    }

    fn left(&self) {
        let mut circuits = lock(&self.breaker.0.circuits);
        circuits.connect.leave(self.probes_connect);
        if let Some(circuit) = circuits.credentials.get_mut(&self.credential) {
            circuit.leave(self.probes_credential);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        match self.sent_at {
            Some(sent_at) if sent_at.elapsed() >= PATIENCE => self.failed(),
            _ => self.left(),
        }
    }
}

impl Circuit {
    /// Whether who enters is the one that tries the vendor out.
    fn enter(&mut self, now: Instant) -> Result<bool, Error> {
        self.check(now)?;
        Ok(self.open.as_mut().map(|open| open.is_probed = true).is_some())
    }

    fn check(&self, now: Instant) -> Result<(), Error> {
        match self.open {
            Some(open) if now < open.until => Err(refusal(open.until - now)),
            // One at a time; how long it takes nobody knows.
            Some(open) if open.is_probed => Err(refusal(Duration::from_secs(1))),
            _ => Ok(()),
        }
    }

    fn leave(&mut self, probes: bool) {
        if let Some(open) = &mut self.open
            && probes
        {
            open.is_probed = false;
        }
    }

    fn fail(&mut self, rule: Rule) {
        self.failures = self.failures.saturating_add(1);
        if rule.failure_limit == 0 || self.failures < rule.failure_limit {
            return;
        }
        let pause = match self.open {
            // Others that were on their way when it opened say nothing new.
            Some(open) if Instant::now() < open.until => return,
            Some(open) => (open.pause * 2).min(PAUSE_LIMIT),
            None => rule.pause,
        };
        self.open = Some(Open { until: Instant::now() + pause, pause, is_probed: false });
    }
}

fn refusal(retry_after: Duration) -> Error {
    Error { retry_after: Some(retry_after), ..Error::new(Kind::Unavailable) }
}
