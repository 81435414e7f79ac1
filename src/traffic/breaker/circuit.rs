//! One circuit. It is closed, open or half-open. While it is half-open, each caller may make one
//! trial at a time.

use std::time::Duration;

use tokio::time::Instant;

use crate::credential::CredentialId;

/// After this long without an answer, the caller may make another trial.
const TRIAL_LIMIT: Duration = Duration::from_secs(1);

/// After how many failures in a row circuits open, and the pause before each trial.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    pub failure_limit: u32,
    pub pause: Duration,
}

/// See the module.
#[derive(Default)]
pub(super) struct Circuit {
    failures: u32,
    open: Option<Open>,
}

struct Open {
    until: Instant,
    /// The callers with a trial in flight, and when each may make the next one. Each caller has its
    /// own trial, so that no caller can block the others.
    trials: Vec<(CredentialId, Instant)>,
}

impl Circuit {
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Allows a trial at `at`, if none was allowed sooner.
    pub fn half_open_by(&mut self, at: Instant) {
        if let Some(open) = &mut self.open {
            open.until = open.until.min(at);
        }
    }

    /// Allows no trial before `at`.
    pub fn stay_open_until(&mut self, at: Instant) {
        if let Some(open) = &mut self.open {
            open.until = open.until.max(at);
        }
    }

    /// Checks that `caller` may ask. The error is the least time to wait.
    pub fn check(&self, caller: CredentialId, now: Instant) -> Result<(), Duration> {
        let Some(open) = &self.open else { return Ok(()) };
        let trial = open.trials.iter().find(|(by, _)| *by == caller);
        let until = trial.map_or(open.until, |(_, until)| open.until.max(*until));
        if now < until { Err(until - now) } else { Ok(()) }
    }

    /// Begins an attempt. If the circuit is half-open, the attempt is a trial.
    pub fn begin(&mut self, caller: CredentialId, now: Instant) {
        if let Some(open) = &mut self.open {
            open.trials.retain(|(by, until)| *by != caller && now < *until);
            open.trials.push((caller, now + TRIAL_LIMIT));
        }
    }

    /// Ends the caller's trial without a result.
    pub fn leave(&mut self, caller: CredentialId) {
        if let Some(open) = &mut self.open {
            open.trials.retain(|(by, _)| *by != caller);
        }
    }

    /// Counts a failure. Opens the circuit if `may_open` and there were enough failures in a row.
    /// Returns whether a new pause begins.
    pub fn fail(&mut self, may_open: bool, rule: Rule, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        match &self.open {
            // The attempt was in flight when the circuit opened, so its failure is no news.
            Some(open) if now < open.until => return false,
            Some(_) => {}
            None if may_open && self.failures >= rule.failure_limit => {}
            None => return false,
        }
        self.open = Some(Open { until: now + rule.pause, trials: Vec::new() });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;

    const SECOND: Duration = Duration::from_secs(1);

    fn caller(name: &str) -> CredentialId {
        Credential::from_authorization(&format!("Bearer {name}")).unwrap().id()
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_blocks_neither_the_trials_of_others_nor_its_own_for_long() {
        let rule = Rule { failure_limit: 2, pause: 5 * SECOND };
        let (start, a, b) = (Instant::now(), caller("a"), caller("b"));
        let mut circuit = Circuit::default();
        circuit.fail(true, rule, start);
        assert_eq!(circuit.check(a, start), Ok(()));
        circuit.fail(true, rule, start);
        assert_eq!(circuit.check(a, start), Err(5 * SECOND));

        let half_open = start + 5 * SECOND;
        assert_eq!(circuit.check(a, half_open), Ok(()));
        circuit.begin(a, half_open);
        assert_eq!(circuit.check(a, half_open), Err(SECOND));
        assert_eq!(circuit.check(b, half_open), Ok(()));
        // The answer may never come, so the trial expires.
        assert_eq!(circuit.check(a, half_open + TRIAL_LIMIT), Ok(()));
        circuit.leave(a);
        assert_eq!(circuit.check(a, half_open), Ok(()));

        circuit.begin(b, half_open);
        circuit.fail(true, rule, half_open);
        assert_eq!(circuit.check(a, half_open), Err(5 * SECOND));
        assert_eq!(circuit.check(b, half_open), Err(5 * SECOND));
    }
}
