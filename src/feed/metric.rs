//! The metrics of the polls.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use strum::VariantNames as _;

use super::{Overview, hint::HintSource, poll_result::PollResult};
use crate::{model::Status, wire::Kind};

const POLLS: &str = "gotoassist_polls_total";
const RUNNING_POLLS: &str = "gotoassist_polls";
const WATCHES: &str = "gotoassist_watches";
const STALE_WATCHES: &str = "gotoassist_stale_watches";
const HINTS: &str = "gotoassist_hints_total";
const HINT_HITS: &str = "gotoassist_hint_hits_total";
const CHANGES: &str = "gotoassist_status_changes_total";
const CHANGE_AGE: &str = "gotoassist_status_change_age_seconds";
const LISTED_POLLS: &str = "gotoassist_listed_polls";
const SWEEPS: &str = "gotoassist_sweeps_total";

/// The `found_by` of a change that no hint announced.
const WITHOUT_HINT: &str = "poll";
/// The results of a reading of the list, besides errors.
pub(super) const SWEPT: &str = "ok";
pub(super) const UNRELIABLE: &str = "unreliable";

/// Describes the metrics. Has no effect before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(POLLS, "Answers to polls of watched sessions, by result");
    describe_gauge!(RUNNING_POLLS, "Sessions that are polled, by latest status");
    describe_gauge!(WATCHES, "Open watches, by the status of their session");
    describe_counter!(HINTS, "Hints that a watched session has changed, by source");
    describe_counter!(HINT_HITS, "Hints after which the poll found a change, by source");
    describe_counter!(
        CHANGES,
        "Status changes of watched sessions, by what made the poll find them"
    );
    describe_histogram!(
        CHANGE_AGE,
        Unit::Seconds,
        "Time from a status change, by the vendor's clock, to the answer that showed it"
    );
    describe_gauge!(LISTED_POLLS, "Polled sessions that GoToAssist's list of sessions shows");
    describe_counter!(SWEEPS, "Readings of GoToAssist's list of sessions, by result");
    describe_gauge!(STALE_WATCHES, "Open watches whose session is stale because GoToAssist fails");
    begin_at_zero();
}

/// Creates the series of all known labels, so that an alert sees the first event too.
fn begin_at_zero() {
    for result in PollResult::VARIANTS {
        counter!(POLLS, "result" => *result).increment(0);
    }
    for source in HintSource::ALL {
        counter!(HINTS, "source" => source.name()).increment(0);
        counter!(HINT_HITS, "source" => source.name()).increment(0);
        counter!(CHANGES, "found_by" => source.name()).increment(0);
    }
    counter!(CHANGES, "found_by" => WITHOUT_HINT).increment(0);
    for result in [SWEPT, UNRELIABLE].iter().chain(Kind::VARIANTS) {
        counter!(SWEEPS, "result" => *result).increment(0);
    }
}

pub(super) fn count_hint(source: HintSource) {
    counter!(HINTS, "source" => source.name()).increment(1);
}

/// Counts a hint that is served: the poll that followed it found a change, or not.
pub(super) fn count_served_hint(source: HintSource, has_changed: bool) {
    if has_changed {
        counter!(HINT_HITS, "source" => source.name()).increment(1);
    }
}

/// Counts a change of status by what made the poll find it.
pub(super) fn count_change(hinted_by: Option<HintSource>, age: Option<Duration>) {
    let found_by = hinted_by.map_or(WITHOUT_HINT, HintSource::name);
    counter!(CHANGES, "found_by" => found_by).increment(1);
    if let Some(age) = age {
        histogram!(CHANGE_AGE, "found_by" => found_by).record(age);
    }
}

/// Counts a reading of the vendor's list.
pub(super) fn count_sweep(result: &'static str) {
    counter!(SWEEPS, "result" => result).increment(1);
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
    gauge!(LISTED_POLLS).set(count(polls.iter().filter(|poll| poll.is_listed).count()));
}

fn count(number: usize) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}
