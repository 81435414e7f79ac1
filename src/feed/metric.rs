//! The metrics of the polls: their names, and what each tells an operator.

use metrics::{counter, describe_counter};

use super::settle::Verdict;

const POLLS: &str = "gotoassist_polls_total";

/// Gives each its help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(POLLS, "Answers to polls of watched sessions, by what they brought");
}

pub(super) fn count_poll(verdict: &Verdict) {
    let result = match verdict {
        Verdict::Same(_) => "unchanged",
        Verdict::News(_) => "changed",
        Verdict::Doubtful => "doubtful",
        Verdict::Failed(_) => "failed",
        Verdict::Over(_) => "ended",
    };
    counter!(POLLS, "result" => result).increment(1);
}
