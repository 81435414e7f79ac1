//! The metrics of the polls: their names, and what each tells an operator.

use metrics::{counter, describe_counter};

use super::effect::Effect;

const POLLS: &str = "gotoassist_polls_total";

/// Gives each its help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(POLLS, "Answers to polls of watched sessions, by what they brought");
}

pub(super) fn count_poll(effect: Effect) {
    counter!(POLLS, "result" => effect.name()).increment(1);
}
