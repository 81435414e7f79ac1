//! The metrics of the traffic to the vendor: their names, and what each tells an operator.

use crate::{credential::token, wire::unknown_fields};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const REQUEST_DURATION: &str = "http_client_request_duration_seconds";
pub(super) const CONNECTION_FAILURES: &str = "gotoassist_connection_failures_total";
pub(super) const RETRIES: &str = "gotoassist_retries_total";
pub(super) const FINISHED_CACHE_HITS: &str = "gotoassist_finished_cache_hits_total";
pub(super) const SINGLE_FLIGHT_JOINS: &str = "gotoassist_single_flight_joins_total";
pub(super) const BREAKER_REFUSALS: &str = "gotoassist_breaker_refusals_total";
pub(super) const BREAKER_OPEN: &str = "gotoassist_breaker_open_circuits";
pub(super) const QUOTA_WAIT: &str = "gotoassist_quota_wait_seconds";

/// Gives each its help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    unknown_fields::describe();
    token::describe();
    describe_histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "Time of one request to GoToAssist, by call and result"
    );
    describe_counter!(
        CONNECTION_FAILURES,
        "Requests to GoToAssist without a connection, or whose connection broke, by cause"
    );
    describe_counter!(RETRIES, "Requests to GoToAssist that were tried again, by call");
    describe_counter!(
        FINISHED_CACHE_HITS,
        "Calls for a finished session that were answered from memory"
    );
    describe_counter!(
        SINGLE_FLIGHT_JOINS,
        "Calls and polls that joined an identical request already in flight"
    );
    describe_counter!(
        BREAKER_REFUSALS,
        "Requests that were not sent because a circuit of the breaker is open, by circuit"
    );
    describe_gauge!(BREAKER_OPEN, "Circuits of the breaker that are open, by circuit");
    describe_histogram!(
        QUOTA_WAIT,
        Unit::Seconds,
        "Time that a request to GoToAssist waited for the quota, by class, also in vain"
    );
}
