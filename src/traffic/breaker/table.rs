//! The circuits of which there is a failure to remember.

use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;

use super::{
    SESSIONS_TO_OPEN, Subject,
    circuit::{Circuit, Rule},
    recent::Recent,
};
use crate::{
    credential::CredentialId,
    traffic::metric,
    wire::{Error, Kind},
};

/// Two callers with the same deadline wait a little longer and a little shorter.
const SLACK: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    connect: Circuit,
    credentials: Recent<CredentialId, OfCredential>,
    sessions: Recent<Subject, OfSession>,
}

#[derive(Default)]
struct OfCredential {
    circuit: Circuit,
    /// The sessions that failed since the latest success, as far as they decide anything.
    failing: Vec<Subject>,
}

#[derive(Default)]
struct OfSession {
    circuit: Circuit,
    /// Open for callers who have no more time than was waited in vain.
    impatient: Circuit,
    waited: Duration,
}

impl Table {
    /// Whether the subject may be asked for.
    pub fn check(
        &self,
        subject: Subject,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<(), Error> {
        let caller = subject.caller;
        let refused = |circuit| move |wait| refusal(wait, circuit);
        self.connect.check(caller, now).map_err(refused("connect"))?;
        if let Some(session) = self.sessions.get(&subject) {
            session.circuit.check(caller, now).map_err(refused("session"))?;
            let in_vain = session.waited + SLACK;
            if deadline.is_some_and(|deadline| deadline.duration_since(now) <= in_vain) {
                session.impatient.check(caller, now).map_err(refused("session"))?;
            }
            // A session known to be bad is tried for its own sake only.
            if session.circuit.is_open() {
                return Ok(());
            }
        }
        match self.credentials.get(&caller) {
            Some(credential) => {
                credential.circuit.check(caller, now).map_err(refused("credential"))
            }
            None => Ok(()),
        }
    }

    /// The same for an attempt that begins now, which is a trial of whatever is half-open.
    pub fn begin(
        &mut self,
        subject: Subject,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<(), Error> {
        self.check(subject, deadline, now)?;
        self.circuits(subject, |circuit| circuit.begin(subject.caller, now));
        Ok(())
    }

    /// The attempt ended without telling anything.
    pub fn leave(&mut self, subject: Subject) {
        self.circuits(subject, |circuit| circuit.leave(subject.caller));
    }

    /// The vendor answered as it should. Whether that changes anything.
    pub fn succeed(&mut self, subject: Subject, now: Instant) -> bool {
        let had_connect_failures = std::mem::take(&mut self.connect).failures > 0;
        let had_session = self.sessions.remove(&subject);
        let had_credential = self.credentials.remove(&subject.caller);
        self.sweep(now) || had_connect_failures || had_session || had_credential
    }

    /// There was no connection, which says nothing of session and credential.
    pub fn fail_connect(&mut self, subject: Subject, rule: Rule, now: Instant) {
        self.leave(subject);
        self.connect.fail(true, rule, now);
    }

    /// The vendor failed.
    pub fn fail(&mut self, subject: Subject, rule: Rule, now: Instant) {
        self.connect = Circuit::default();
        let session = &mut self.sessions.touch(subject, now).circuit;
        let was_known = session.is_open();
        session.fail(true, rule, now);
        // The failures of a session that is known to be bad say nothing of the credential.
        if was_known {
            return;
        }
        let OfCredential { circuit, failing } = self.credentials.touch(subject.caller, now);
        if failing.len() < SESSIONS_TO_OPEN && !failing.contains(&subject) {
            failing.push(subject);
        }
        circuit.fail(failing.len() >= SESSIONS_TO_OPEN, rule, now);
    }

    /// A caller left after having waited in vain.
    pub fn fail_impatient(&mut self, subject: Subject, waited: Duration, rule: Rule, now: Instant) {
        let session = self.sessions.touch(subject, now);
        session.waited = session.waited.max(waited);
        session.impatient.fail(true, rule, now);
    }

    /// Sets the gauges.
    pub fn show(&self) {
        let sessions =
            self.sessions.count(|session| session.circuit.is_open() || session.impatient.is_open());
        let credentials = self.credentials.count(|credential| credential.circuit.is_open());
        let circuits = [
            ("connect", usize::from(self.connect.is_open())),
            ("credential", credentials),
            ("session", sessions),
        ];
        for (circuit, open) in circuits {
            #[expect(clippy::cast_precision_loss, reason = "at most 10,000")]
            gauge!(metric::BREAKER_OPEN, "circuit" => circuit).set(open as f64);
        }
    }

    /// Forgets failures that nothing has followed for long. Whether there were any.
    pub fn sweep(&mut self, now: Instant) -> bool {
        let had_sessions = self.sessions.sweep(now);
        self.credentials.sweep(now) || had_sessions
    }

    /// Every circuit that an attempt goes through.
    fn circuits(&mut self, subject: Subject, mut change: impl FnMut(&mut Circuit)) {
        change(&mut self.connect);
        let session = self.sessions.get_mut(&subject);
        let is_known = session.as_ref().is_some_and(|session| session.circuit.is_open());
        if let Some(session) = session {
            change(&mut session.circuit);
            change(&mut session.impatient);
        }
        if let Some(credential) = self.credentials.get_mut(&subject.caller)
            && !is_known
        {
            change(&mut credential.circuit);
        }
    }
}

fn refusal(retry_after: Duration, circuit: &'static str) -> Error {
    counter!(metric::BREAKER_REFUSALS, "circuit" => circuit).increment(1);
    Error { retry_after: Some(retry_after), ..Error::new(Kind::Unavailable) }
}
