//! Limits the number of all retries. One caller can use only a share of them, and one session of a
//! caller only a smaller share. So a failing session or caller leaves retries for the others.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::traffic::breaker::Subject;

/// How long a call or a retry counts.
const WINDOW: Duration = Duration::from_secs(10);

/// Calls are counted in slots of this length.
const SLOT: Duration = Duration::from_secs(1);

/// The retries in a window that are allowed even with few calls.
const RESERVE: usize = 20;

/// One more retry is allowed for this many calls in a window.
const CALLS_PER_RETRY: usize = 5;

/// The greatest number of retries in a window. It also bounds the memory.
const LIMIT: usize = 1_000;

/// One caller may use half of the retries, and one session of a caller a quarter.
const CALLER_SHARE: usize = 2;
const SESSION_SHARE: usize = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Budget(Mutex<Window>);

/// The calls and retries in the current window, oldest first.
#[derive(Default)]
struct Window {
    /// When each slot began, and the calls in it.
    calls: VecDeque<(Instant, usize)>,
    retries: VecDeque<(Instant, Subject)>,
}

impl Budget {
    /// Counts a call.
    pub fn deposit(&self) {
        let now = Instant::now();
        let mut window = self.0.lock();
        match window.calls.back_mut() {
            Some((began_at, calls)) if now.duration_since(*began_at) < SLOT => *calls += 1,
            _ => {
                window.forget(now);
                window.calls.push_back((now, 1));
            }
        }
    }

    /// Takes one retry. Returns whether one was left for this subject.
    pub fn withdraw(&self, subject: Subject) -> bool {
        let now = Instant::now();
        let mut window = self.0.lock();
        window.forget(now);
        let is_left = window.is_left(subject);
        if is_left {
            window.retries.push_back((now, subject));
        }
        is_left
    }
}

impl Window {
    fn forget(&mut self, now: Instant) {
        let is_over = |at: &Instant| now.duration_since(*at) >= WINDOW;
        while self.calls.pop_front_if(|(began_at, _)| is_over(began_at)).is_some() {}
        while self.retries.pop_front_if(|(at, _)| is_over(at)).is_some() {}
    }

    fn is_left(&self, subject: Subject) -> bool {
        let calls: usize = self.calls.iter().map(|(_, calls)| calls).sum();
        let most = (RESERVE + calls / CALLS_PER_RETRY).min(LIMIT);
        let (mut of_caller, mut of_session) = (0, 0);
        for (_, retried) in &self.retries {
            of_caller += usize::from(retried.caller == subject.caller);
            of_session += usize::from(*retried == subject);
        }
        self.retries.len() < most
            && of_caller < most / CALLER_SHARE
            && of_session < most / SESSION_SHARE
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::credential::{Credential, CredentialId};

    #[tokio::test(start_paused = true)]
    async fn one_session_gets_a_quarter_and_one_caller_a_half_of_all_retries() {
        let subject = |caller: &str, session: &str| {
            let credential = Credential::from_authorization(&format!("Bearer {caller}")).unwrap();
            Subject::new(credential.caller(), session)
        };
        let budget = Budget::default();
        let taken = |caller: &str, session: &str| {
            (0..100).take_while(|_| budget.withdraw(subject(caller, session))).count()
        };
        assert_eq!((taken("a", "1"), taken("a", "2"), taken("a", "3")), (5, 5, 0));
        assert_eq!((taken("b", "1"), taken("c", "1"), taken("d", "1")), (5, 5, 0));
        for _ in 0..20 {
            budget.deposit();
        }
        assert_eq!((taken("a", "3"), taken("d", "1")), (2, 2), "one more for five calls");
        advance(WINDOW).await;
        assert_eq!((taken("a", "1"), taken("a", "2"), taken("b", "1")), (5, 5, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_the_budget_is_bounded() {
        let budget = Budget::default();
        for _ in 0..100 {
            for _ in 0..1_000 {
                budget.deposit();
            }
            advance(SLOT).await;
        }
        for caller in 0..10_000_u32 {
            let caller = CredentialId::of(&caller.to_be_bytes());
            budget.withdraw(Subject::new(caller, ""));
        }
        let window = budget.0.lock();
        assert!(window.calls.len() <= 10);
        assert_eq!(window.retries.len(), LIMIT);
    }
}
