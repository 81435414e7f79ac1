//! The metrics of the polls.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::{Overview, poll_result::PollResult};
use crate::model::Status;

const POLLS: &str = "gotoassist_polls_total";
const RUNNING_POLLS: &str = "gotoassist_polls";
const WATCHES: &str = "gotoassist_watches";
const STALE_WATCHES: &str = "gotoassist_stale_watches";

/// Describes the metrics. Has no effect before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(POLLS, "Answers to polls of watched sessions, by result");
    describe_gauge!(RUNNING_POLLS, "Sessions that are polled, by latest status");
    describe_gauge!(WATCHES, "Open watches, by the status of their session");
    describe_gauge!(STALE_WATCHES, "Open watches whose session is stale because GoToAssist fails");
}

pub(super) fn count_poll(result: PollResult) {
    counter!(POLLS, "result" => result.name()).increment(1);
}

/// Brings the gauges up to date.
pub(super) fn set_gauges(polls: &[Overview]) {
    for status in Status::ALL {
        let name = if status == Status::Unknown { "unknown" } else { status.name() };
        let of_status = || polls.iter().filter(|poll| poll.status == status);
        let watchers = of_status().map(|poll| poll.watchers).sum();
        gauge!(RUNNING_POLLS, "status" => name).set(count(of_status().count()));
        gauge!(WATCHES, "status" => name).set(count(watchers));
    }
    let stale = polls.iter().filter(|poll| poll.is_stale).map(|poll| poll.watchers).sum();
    gauge!(STALE_WATCHES).set(count(stale));
}

fn count(number: usize) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}
