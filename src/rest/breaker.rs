//! The circuit breaker: while the vendor is down, calls fail at once instead of waiting for it.
//!
//! Failures to connect open one circuit for all, since no credential has a part in them; what
//! comes back over a connection counts for the credential alone that asked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::{counter, gauge};
use tokio::time::Instant;

use super::{CredentialId, Error, Kind, lock, metric};

/// Longest pause between two trials.
const PAUSE_LIMIT: Duration = Duration::from_mins(1);

/// Credentials with failures that are remembered at the same time.
const CREDENTIAL_LIMIT: usize = 10_000;

/// How long a credential's failure is remembered that nothing follows: its token may be gone for good.
const MEMORY: Duration = Duration::from_mins(10);

/// Who left after waiting this long had no answer to expect: that is a failure too, or callers
/// with short deadlines would wait for a dead vendor for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// All circuits of a process.
#[derive(Clone)]
pub(super) struct Breaker(Arc<State>);

struct State {
    rule: Rule,
    /// Whether there may be a failure to remember. While there is none, nobody takes the lock.
    is_troubled: AtomicBool,
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
    swept_at: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Circuit {
    failures: u32,
    failed_at: Option<Instant>,
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
        Self(Arc::new(State {
            rule: Rule { failure_limit, pause },
            is_troubled: AtomicBool::new(false),
            circuits: Mutex::default(),
        }))
    }

    /// Lets an attempt begin, or says when it is worth asking again.
    pub fn enter(&self, credential: CredentialId) -> Result<Permit, Error> {
        if self.0.is_troubled() {
            let now = Instant::now();
            let circuits = lock(&self.0.circuits);
            circuits.connect.check(now).map_err(|wait| refusal(wait, "connect"))?;
            if let Some(circuit) = circuits.credentials.get(&credential) {
                circuit.check(now).map_err(|wait| refusal(wait, "credential"))?;
            }
        }
        Ok(Permit {
            breaker: self.clone(),
            credential,
            sent_at: None,
            probes_connect: false,
            probes_credential: false,
            is_settled: false,
        })
    }
}

impl State {
    fn is_troubled(&self) -> bool {
        self.is_troubled.load(Ordering::Acquire)
    }

    fn update(&self, change: impl FnOnce(&mut Circuits, Rule)) {
        if self.rule.failure_limit == 0 {
            return;
        }
        let mut circuits = lock(&self.circuits);
        change(&mut circuits, self.rule);
        circuits.sweep(Instant::now());
        self.is_troubled.store(!circuits.are_as_new(), Ordering::Release);
    }
}

impl Permit {
    /// Says that the attempt goes out now, unless a circuit opened while it waited for quota, or
    /// another one tries the vendor out. That is decided only now: whoever tried it out while
    /// still waiting for quota would keep all others from it.
    pub fn send(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.breaker.0.is_troubled() {
            let mut circuits = lock(&self.breaker.0.circuits);
            self.probes_connect =
                circuits.connect.enter(now).map_err(|wait| refusal(wait, "connect"))?;
            if let Some(circuit) = circuits.credentials.get_mut(&self.credential) {
                // Dropped on refusal, the permit gives the trial of the connection back.
                self.probes_credential =
                    circuit.enter(now).map_err(|wait| refusal(wait, "credential"))?;
            }
        }
        self.sent_at = Some(now);
        Ok(())
    }

    /// Says how the attempt ended.
    pub fn settle<T>(mut self, outcome: &Result<T, Error>) {
        self.is_settled = true;
        let Self { ref breaker, credential, probes_credential, .. } = self;
        let state = &breaker.0;
        match outcome.as_ref().map_err(|error| error.kind) {
            Err(Kind::ConnectFailed) => state.update(|circuits, rule| {
                circuits.fail_connect(rule);
                // It said nothing about the credential.
                circuits.leave(credential, probes_credential);
            }),
            Err(Kind::Unavailable | Kind::Timeout | Kind::Internal) => {
                state.update(|circuits, rule| {
                    circuits.close_connect();
                    circuits.fail(credential, rule);
                });
            }
            _ if state.is_troubled() => state.update(|circuits, _| {
                circuits.close_connect();
                circuits.close(credential);
            }),
            _ => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let is_late = || self.sent_at.is_some_and(|sent_at| sent_at.elapsed() >= PATIENCE);
        if self.is_settled || !(self.probes_connect || self.probes_credential || is_late()) {
            return;
        }
        self.breaker.0.update(|circuits, rule| {
            circuits.connect.leave(self.probes_connect);
            if is_late() {
                circuits.fail(self.credential, rule);
            } else {
                circuits.leave(self.credential, self.probes_credential);
            }
        });
    }
}

impl Circuits {
    fn are_as_new(&self) -> bool {
        self.connect.failures == 0 && self.credentials.is_empty()
    }

    /// Now and then, forgets what failed long ago.
    fn sweep(&mut self, now: Instant) {
        let is_older = |at: Option<Instant>, age| at.is_none_or(|at| now.duration_since(at) > age);
        if is_older(self.swept_at, MEMORY / 10) {
            self.swept_at = Some(now);
            let before = self.credentials.len();
            self.credentials.retain(|_, circuit| !is_older(circuit.failed_at, MEMORY));
            if self.credentials.len() < before {
                self.show();
            }
        }
    }

    fn fail_connect(&mut self, rule: Rule) {
        self.connect.fail(rule);
        if self.connect.open.is_some() {
            gauge!(metric::BREAKER_OPEN, "circuit" => "connect").set(1.0);
        }
    }

    fn close_connect(&mut self) {
        if self.connect.failures > 0 {
            self.connect = Circuit::default();
            gauge!(metric::BREAKER_OPEN, "circuit" => "connect").set(0.0);
        }
    }

    fn fail(&mut self, credential: CredentialId, rule: Rule) {
        if self.credentials.len() >= CREDENTIAL_LIMIT {
            let now = Instant::now();
            self.credentials.retain(|_, circuit| circuit.open.is_some_and(|open| now < open.until));
        }
        if self.credentials.len() < CREDENTIAL_LIMIT {
            self.credentials.entry(credential).or_default().fail(rule);
        }
        self.show();
    }

    fn close(&mut self, credential: CredentialId) {
        if !self.credentials.is_empty() && self.credentials.remove(&credential).is_some() {
            self.show();
        }
    }

    fn leave(&mut self, credential: CredentialId, probes: bool) {
        if let Some(circuit) = self.credentials.get_mut(&credential) {
            circuit.leave(probes);
        }
    }

    /// Called only after a failure or the end of a row of failures: it looks at every circuit.
    fn show(&self) {
        let open = self.credentials.values().filter(|circuit| circuit.open.is_some()).count();
        #[expect(clippy::cast_precision_loss, reason = "at most 10,000")]
        gauge!(metric::BREAKER_OPEN, "circuit" => "credential").set(open as f64);
    }
}

impl Circuit {
    /// Whether who enters is the one that tries the vendor out.
    fn enter(&mut self, now: Instant) -> Result<bool, Duration> {
        self.check(now)?;
        Ok(self.open.as_mut().map(|open| open.is_probed = true).is_some())
    }

    /// The error is how long to wait at least.
    fn check(&self, now: Instant) -> Result<(), Duration> {
        match self.open {
            Some(open) if now < open.until => Err(open.until - now),
            // One at a time; how long it takes nobody knows.
            Some(open) if open.is_probed => Err(Duration::from_secs(1)),
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
        let now = Instant::now();
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        if self.failures < rule.failure_limit {
            return;
        }
        let pause = match self.open {
            // Others that were on their way when it opened say nothing new.
            Some(open) if now < open.until => return,
            Some(open) => (open.pause * 2).min(PAUSE_LIMIT),
            None => rule.pause,
        };
        self.open = Some(Open { until: now + pause, pause, is_probed: false });
    }
}

fn refusal(retry_after: Duration, circuit: &'static str) -> Error {
    counter!(metric::BREAKER_REFUSALS, "circuit" => circuit).increment(1);
    Error { retry_after: Some(retry_after), ..Error::new(Kind::Unavailable) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::Credential;

    #[tokio::test(start_paused = true)]
    async fn without_a_failure_worth_remembering_nobody_takes_the_lock() {
        let breaker = Breaker::new(5, Duration::from_secs(5));
        let attempt = |token: &str, outcome: Result<(), Error>| {
            let credential = Credential::from_authorization(token).unwrap();
            let mut permit = breaker.enter(credential.id()).unwrap();
            permit.send().unwrap();
            permit.settle(&outcome);
            breaker.0.is_troubled()
        };
        let failure = || Err(Error::new(Kind::Unavailable));
        assert!(!attempt("Bearer a", Ok(())));
        assert!(attempt("Bearer a", failure()));
        assert!(attempt("Bearer b", Ok(())), "the other has not recovered");
        assert!(!attempt("Bearer a", Ok(())));
        // One who never comes back.
        assert!(attempt("Bearer a", failure()));
        tokio::time::advance(MEMORY / 2).await;
        assert!(attempt("Bearer b", Ok(())));
        tokio::time::advance(MEMORY).await;
        assert!(!attempt("Bearer b", Ok(())));
    }
}
