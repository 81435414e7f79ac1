//! The circuits with recent failures. Their number is bounded. A circuit is forgotten when it has
//! not been used for a while.

use std::time::Duration;

use lru::LruCache;
use metrics::{counter, gauge};
use tokio::time::Instant;

use super::{
    SESSIONS_TO_OPEN, Subject,
    circuit::{Circuit, Rule},
};
use crate::{
    credential::CredentialId,
    traffic::metric,
    wire::{Error, Kind},
};

/// The waits of two callers with the same timeout differ by less than this.
const SLACK: Duration = Duration::from_millis(100);

/// The greatest number of circuits. Beyond it, the least recently used circuit is forgotten.
const LIMIT: usize = 20_000;

/// While nothing of a caller succeeds, the time between two trials for sessions whose own circuits are
/// open. Each session has a turn. With the trial of the caller's own circuit, they stay below one a
/// second, whatever the number of sessions.
const TURN: Duration = Duration::from_secs(2);

/// How long a success shows that the vendor answers this caller. Then a session that fails has a trial
/// after each pause, so that it does not wait for the turns of others that fail.
const EVIDENCE: Duration = Duration::from_secs(30);

/// How long an unused circuit is kept.
const MEMORY: Duration = Duration::from_mins(10);

/// What a circuit is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    /// All requests: no connection can be made.
    Connect,
    Session(Subject),
    /// Calls for a session whose deadline is no longer than an earlier wait that had no answer.
    ShortDeadlines(Subject),
    Credential(CredentialId),
}

/// See the module.
pub(super) struct Table(LruCache<Scope, Entry>);

struct Entry {
    circuit: Circuit,
    touched_at: Instant,
    /// For a credential: the sessions that failed since the latest success, at most
    /// [`SESSIONS_TO_OPEN`].
    failing: Vec<Subject>,
    /// For a credential: the turns of its failing sessions. `None` if there were none of late.
    turns: Option<Turns>,
    /// For short deadlines: the longest wait that had no answer.
    waited: Duration,
}

/// When the failing sessions of a caller are tried, one after the other.
struct Turns {
    /// The latest turn that a session has.
    latest: Instant,
    succeeded_at: Option<Instant>,
}

/// The names of the circuits in metrics.
pub(in crate::traffic) const CIRCUITS: [&str; 3] = ["connect", "credential", "session"];

impl Scope {
    /// Returns all scopes of an attempt.
    fn all_of(subject: Subject) -> [Self; 4] {
        [
            Scope::Connect,
            Scope::Session(subject),
            Scope::ShortDeadlines(subject),
            Scope::Credential(subject.caller),
        ]
    }

    /// Whose trial an attempt is. No connection depends on the caller, so all callers share that
    /// trial. In the other circuits each caller has its own, so that no caller can block the others.
    fn trier(self, subject: Subject) -> CredentialId {
        match self {
            Scope::Connect => CredentialId::of(b"connect"),
            Scope::Session(_) | Scope::ShortDeadlines(_) | Scope::Credential(_) => subject.caller,
        }
    }

    /// Returns the name in metrics.
    fn name(self) -> &'static str {
        match self {
            Scope::Connect => "connect",
            Scope::Session(_) | Scope::ShortDeadlines(_) => "session",
            Scope::Credential(_) => "credential",
        }
    }
}

impl Entry {
    /// For a credential: whether the vendor answers its other sessions.
    fn is_well(&self, now: Instant) -> bool {
        let succeeded_at = self.turns.as_ref().and_then(|turns| turns.succeeded_at);
        let has_succeeded = succeeded_at.is_some_and(|at| now.duration_since(at) < EVIDENCE);
        has_succeeded && self.failing.is_empty()
    }
}

impl Default for Table {
    fn default() -> Self {
        Self(LruCache::unbounded())
    }
}

impl Table {
    /// Checks that the subject may be asked for.
    pub fn check(
        &self,
        subject: Subject,
        deadline: Option<Instant>,
        rule: Rule,
        now: Instant,
    ) -> Result<(), Error> {
        for scope in self.relevant(subject) {
            let Some(entry) = self.0.peek(&scope) else { continue };
            let is_short = |deadline: Instant| deadline - now <= entry.waited + SLACK;
            let applies =
                !matches!(scope, Scope::ShortDeadlines(_)) || deadline.is_some_and(is_short);
            if applies && let Err(wait) = entry.circuit.check(scope.trier(subject), now) {
                counter!(metric::BREAKER_REFUSALS, "circuit" => scope.name()).increment(1);
                // The session's own turn may be far away. But others may show sooner that the vendor
                // answers again.
                let wait = wait.min(rule.pause);
                return Err(Error { retry_after: Some(wait), ..Error::new(Kind::Unavailable) });
            }
        }
        Ok(())
    }

    /// Checks an attempt that begins now, and makes it the trial of each half-open circuit.
    pub fn begin(
        &mut self,
        subject: Subject,
        deadline: Option<Instant>,
        rule: Rule,
        now: Instant,
    ) -> Result<(), Error> {
        self.check(subject, deadline, rule, now)?;
        self.change(subject, |scope, circuit| circuit.begin(scope.trier(subject), now));
        Ok(())
    }

    /// Ends the attempt without a result.
    pub fn leave(&mut self, subject: Subject) {
        self.change(subject, |scope, circuit| circuit.leave(scope.trier(subject)));
    }

    /// Records a success. Returns whether any circuit changed.
    pub fn succeed(&mut self, subject: Subject, rule: Rule, now: Instant) -> bool {
        let before = self.0.len();
        if before == 0 {
            return false;
        }
        for scope in [Scope::Connect, Scope::Session(subject), Scope::ShortDeadlines(subject)] {
            self.0.pop(&scope);
        }
        let scope = Scope::Credential(subject.caller);
        let mut has_recovered = false;
        if let Some(credential) = self.0.pop(&scope) {
            has_recovered = credential.circuit.is_open();
            if has_recovered {
                // The sessions probably failed in the outage that has just ended.
                self.half_open_sessions(subject.caller, now);
            } else if credential.turns.is_some() && !credential.is_well(now) {
                self.half_open_sessions(subject.caller, now + rule.pause);
            }
            // Without turns, no session of this caller has an open circuit.
            let is_recent = |turns: &Turns| now.duration_since(turns.latest) < MEMORY;
            if let Some(turns) = credential.turns.filter(is_recent) {
                let turns = Turns { latest: turns.latest.min(now), succeeded_at: Some(now) };
                self.touch(scope, now).turns = Some(turns);
            }
        }
        self.expire(now);
        has_recovered || self.0.len() < before
    }

    /// Allows a trial of each failing session of a caller at `at` or sooner.
    fn half_open_sessions(&mut self, caller: CredentialId, at: Instant) {
        for (scope, entry) in &mut self.0 {
            match scope {
                Scope::Session(of) | Scope::ShortDeadlines(of) if of.caller == caller => {
                    entry.circuit.half_open_by(at);
                }
                Scope::Session(_)
                | Scope::ShortDeadlines(_)
                | Scope::Connect
                | Scope::Credential(_) => {}
            }
        }
    }

    /// Records that no connection could be made. This says nothing about the session or the
    /// credential.
    pub fn fail_connect(&mut self, subject: Subject, rule: Rule, now: Instant) {
        self.leave(subject);
        self.touch(Scope::Connect, now).circuit.fail(true, rule, now);
    }

    /// Records a failure of the vendor.
    pub fn fail(&mut self, subject: Subject, rule: Rule, now: Instant) {
        self.0.pop(&Scope::Connect);
        // A trial of the credential is enough to know that the session fails. The next trial is for
        // another session.
        let credential = self.0.peek(&Scope::Credential(subject.caller));
        let is_trial = credential.is_some_and(|credential| credential.circuit.is_open());
        let failure_limit = if is_trial { 1 } else { rule.failure_limit };
        let session = &mut self.touch(Scope::Session(subject), now).circuit;
        let was_known = session.is_open();
        let has_paused = session.fail(true, Rule { failure_limit, ..rule }, now);
        // If the session is known to fail, a further failure says nothing about the credential.
        if !was_known {
            let Entry { circuit, failing, .. } = self.touch(Scope::Credential(subject.caller), now);
            if failing.len() < SESSIONS_TO_OPEN && !failing.contains(&subject) {
                failing.push(subject);
            }
            circuit.fail(failing.len() >= SESSIONS_TO_OPEN, rule, now);
        }
        if has_paused {
            let next_trial = self.next_trial(subject.caller, rule, now);
            if let Some(session) = self.0.peek_mut(&Scope::Session(subject)) {
                session.circuit.stay_open_until(next_trial);
            }
        }
    }

    /// When a session of this caller that has failed now may be tried again.
    fn next_trial(&mut self, caller: CredentialId, rule: Rule, now: Instant) -> Instant {
        let credential = self.touch(Scope::Credential(caller), now);
        let (after_pause, is_well) = (now + rule.pause, credential.is_well(now));
        let no_turns = Turns { latest: now, succeeded_at: None };
        let turns = credential.turns.get_or_insert(no_turns);
        if is_well {
            turns.latest = turns.latest.max(now);
            after_pause
        } else {
            turns.latest = after_pause.max(turns.latest + TURN);
            turns.latest
        }
    }

    /// Records that a caller left after it had waited without an answer.
    pub fn fail_short_deadline(
        &mut self,
        subject: Subject,
        waited: Duration,
        rule: Rule,
        now: Instant,
    ) {
        let entry = self.touch(Scope::ShortDeadlines(subject), now);
        entry.waited = entry.waited.max(waited);
        entry.circuit.fail(true, rule, now);
    }

    /// Sets the gauges to the number of open circuits.
    pub fn set_gauges(&self) {
        for name in CIRCUITS {
            let is_counted =
                |scope: &Scope, entry: &Entry| scope.name() == name && entry.circuit.is_open();
            let open = self.0.iter().filter(|(scope, entry)| is_counted(scope, entry)).count();
            #[expect(clippy::cast_precision_loss, reason = "at most 20,000")]
            gauge!(metric::BREAKER_OPEN, "circuit" => name).set(open as f64);
        }
    }

    /// Returns the circuits that apply to an attempt. If the session is known to fail, its trial
    /// says nothing about the credential, and the circuit of the credential does not block it.
    fn relevant(&self, subject: Subject) -> impl Iterator<Item = Scope> + use<> {
        let session = self.0.peek(&Scope::Session(subject));
        let is_known = session.is_some_and(|session| session.circuit.is_open());
        let is_relevant = move |scope: &Scope| !(is_known && matches!(scope, Scope::Credential(_)));
        Scope::all_of(subject).into_iter().filter(is_relevant)
    }

    fn change(&mut self, subject: Subject, change: impl Fn(Scope, &mut Circuit)) {
        for scope in self.relevant(subject) {
            if let Some(entry) = self.0.peek_mut(&scope) {
                change(scope, &mut entry.circuit);
            }
        }
    }

    /// Returns the entry, or a new one, and marks it as used now.
    fn touch(&mut self, scope: Scope, now: Instant) -> &mut Entry {
        if self.0.len() >= LIMIT && !self.0.contains(&scope) {
            self.0.pop_lru();
        }
        let entry = self.0.get_or_insert_mut(scope, || Entry {
            circuit: Circuit::default(),
            touched_at: now,
            failing: Vec::new(),
            turns: None,
            waited: Duration::ZERO,
        });
        entry.touched_at = now;
        entry
    }

    /// Forgets the circuits that have not been used for a while.
    fn expire(&mut self, now: Instant) {
        let is_old = |entry: &Entry| now.duration_since(entry.touched_at) >= MEMORY;
        while self.0.peek_lru().is_some_and(|(_, oldest)| is_old(oldest)) {
            self.0.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_number_of_circuits_is_bounded_and_old_ones_are_forgotten() {
        let mut table = Table::default();
        let scope = |number: usize| Scope::Credential(CredentialId::of(&number.to_be_bytes()));
        for number in 0..=LIMIT {
            tokio::time::advance(Duration::from_millis(1)).await;
            table.touch(scope(number), Instant::now());
        }
        let is_kept = |table: &Table, number| table.0.contains(&scope(number));
        assert_eq!((table.0.len(), is_kept(&table, 0), is_kept(&table, 1)), (LIMIT, false, true));
        tokio::time::advance(MEMORY / 2).await;
        table.touch(scope(7), Instant::now());
        tokio::time::advance(MEMORY / 2).await;
        table.expire(Instant::now());
        assert_eq!((table.0.len(), is_kept(&table, 7)), (1, true));
    }
}
