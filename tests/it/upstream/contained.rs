//! Rule 17: trouble of one session or caller does not affect others. Each kind of trouble runs with
//! each shared mechanism, on paused time. Every call of the other callers must succeed. Their 95th
//! percentile may be at most 1.2 times the one of the same run without trouble.

mod world;

use std::{fmt::Write as _, time::Duration};

use world::{Outcomes, run};

/// The kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A session that always fails. The other calls include other sessions of the same caller.
    Session,
    /// A credential whose requests always fail.
    Credential,
    /// A client that opens watches and never reads a message.
    SlowReader,
    /// A caller whose deadlines are too short for the vendor.
    ShortDeadlines,
    /// A caller with a thousand calls at once.
    ThousandCalls,
}

/// The shared mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Breaker,
    RetryBudget,
    QuotaQueue,
    Coalescing,
    FinishedCache,
    Hold,
}

const TROUBLES: [Trouble; 5] = [
    Trouble::Session,
    Trouble::Credential,
    Trouble::SlowReader,
    Trouble::ShortDeadlines,
    Trouble::ThousandCalls,
];

/// Runs one row of the matrix and reports every cell that breaks the rule.
fn contains_every_trouble(mechanism: Mechanism) {
    let mut leaks = String::new();
    for trouble in TROUBLES {
        let quiet = on_paused_time(run(mechanism, trouble, false));
        let troubled = on_paused_time(run(mechanism, trouble, true));
        assert!(quiet.calls() >= 8 && quiet.failed == 0, "{mechanism:?} without trouble: {quiet}");
        if troubled.failed > 0 || troubled.p95() > quiet.p95().mul_f64(1.2) {
            writeln!(leaks, "{trouble:?} x {mechanism:?}: {troubled}; without it: {quiet}")
                .unwrap();
        }
    }
    assert!(leaks.is_empty(), "\n{leaks}");
}

fn on_paused_time(run: impl Future<Output = Outcomes>) -> Outcomes {
    fastrand::seed(17);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_hours(1), run).await.expect("the world ends")
    })
}

#[test]
fn the_breaker_contains_every_trouble() {
    contains_every_trouble(Mechanism::Breaker);
}

#[test]
fn the_retry_budget_contains_every_trouble() {
    contains_every_trouble(Mechanism::RetryBudget);
}

#[test]
fn the_quota_queue_contains_every_trouble() {
    contains_every_trouble(Mechanism::QuotaQueue);
}

#[test]
fn coalescing_contains_every_trouble() {
    contains_every_trouble(Mechanism::Coalescing);
}

#[test]
fn the_finished_session_cache_contains_every_trouble() {
    contains_every_trouble(Mechanism::FinishedCache);
}

#[test]
fn the_hold_after_a_429_contains_every_trouble() {
    contains_every_trouble(Mechanism::Hold);
}
