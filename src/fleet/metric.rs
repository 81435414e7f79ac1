//! The metrics of the fleet. A process on its own has none of them.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use strum::VariantNames as _;

use super::{account::AccountError, lease::Standing};

const JOINED: &str = "gotoassist_fleet_joined";
const REPLICAS: &str = "gotoassist_fleet_replicas";
const SILENT: &str = "gotoassist_fleet_silent_replicas";
const SHARE: &str = "gotoassist_fleet_share";
const FAILURES: &str = "gotoassist_fleet_failures_total";
const POLLS: &str = "gotoassist_fleet_polls";
const LEASES: &str = "gotoassist_fleet_leases_total";
const REJECTIONS: &str = "gotoassist_fleet_rejected_total";

pub(super) fn describe() {
    describe_gauge!(JOINED, "1 if this replica shares the quota with its fleet, 0 if it is alone");
    describe_gauge!(REPLICAS, "Replicas of the fleet, as this one knows, with the silent ones");
    describe_gauge!(SILENT, "Replicas that vanished and whose share of the quota is kept free");
    describe_gauge!(
        SHARE,
        Unit::Count,
        "Requests per second to GoToAssist of this replica while it is alone"
    );
    describe_counter!(FAILURES, "Questions to Redis that got no answer, by cause");
    // Otherwise no alert would see the first event.
    for cause in AccountError::VARIANTS {
        counter!(FAILURES, "cause" => *cause).increment(0);
    }
}

pub(super) fn set_gauges(standing: &Standing) {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    gauge!(JOINED).set(f64::from(u8::from(standing.is_joined)));
    gauge!(REPLICAS).set(count(standing.replicas));
    gauge!(SILENT).set(count(standing.silent));
    gauge!(SHARE).set(standing.share);
}

pub(super) fn count_failure(error: AccountError) {
    counter!(FAILURES, "cause" => <&str>::from(error)).increment(1);
}

pub(super) fn describe_polls() {
    describe_gauge!(POLLS, "Watched sessions of this replica, by its part in the poll");
    describe_counter!(LEASES, "Leases of sessions that this replica has taken");
    describe_counter!(REJECTIONS, "Values in Redis that no replica of this fleet has written");
    counter!(LEASES).increment(0);
    counter!(REJECTIONS).increment(0);
}

/// Counts a poll with this part.
pub(super) fn add_poll(role: &'static str) {
    gauge!(POLLS, "role" => role).increment(1.0);
}

/// The reverse of [`add_poll`].
pub(super) fn remove_poll(role: &'static str) {
    gauge!(POLLS, "role" => role).decrement(1.0);
}

pub(super) fn count_lease() {
    counter!(LEASES).increment(1);
}

pub(super) fn count_rejection() {
    counter!(REJECTIONS).increment(1);
}
