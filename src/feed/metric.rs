//! The metrics of the polls.

use metrics::{counter, describe_counter};

use super::poll_result::PollResult;

const POLLS: &str = "gotoassist_polls_total";

/// Describes the metrics. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(POLLS, "Answers to polls of watched sessions, by what they brought");
}

pub(super) fn count_poll(result: PollResult) {
    counter!(POLLS, "result" => result.name()).increment(1);
}
