//! The metrics of the server: their names, and what each tells an operator. Those of calls are
//! named after OpenTelemetry's conventions for RPC.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use tokio::runtime::Handle;

use crate::{credential::token, feed, model::Status, traffic::quota};

pub(super) const CALL_DURATION: &str = "rpc_server_call_duration_seconds";
pub(super) const ACTIVE_CALLS: &str = "rpc_server_active_calls";
pub(super) const CALL_ERRORS: &str = "gotoassist_call_errors_total";
pub(super) const PLANNED_ENDS: &str = "gotoassist_planned_ends_total";
pub(super) const CONNECTIONS: &str = "gotoassist_connections";
pub(super) const CONNECTIONS_CUT: &str = "gotoassist_connections_cut_total";
pub(super) const ACCEPT_ERRORS: &str = "gotoassist_accept_errors_total";
pub(super) const CERTIFICATE_RELOADS: &str = "gotoassist_certificate_reloads_total";

const POLLS: &str = "gotoassist_polls";
const WATCHES: &str = "gotoassist_watches";
const QUOTA_RATE: &str = "gotoassist_quota_rate";
const QUOTA_LIMIT: &str = "gotoassist_quota_limit";
const QUOTA_USED: &str = "gotoassist_quota_used";
const QUOTA_WAITING: &str = "gotoassist_quota_waiting";
const STALE_WATCHES: &str = "gotoassist_stale_watches";
const TOKEN_VALIDITY: &str = "gotoassist_token_validity_seconds";
const TOKEN_FAILING: &str = "gotoassist_token_failing";
const UPSTREAM_WELL: &str = "gotoassist_upstream_up";
const TASKS: &str = "gotoassist_tasks";

/// Gives each its help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_histogram!(
        CALL_DURATION,
        Unit::Seconds,
        "Time of one call, of a stream to its end, by method and status code"
    );
    describe_gauge!(ACTIVE_CALLS, "Calls that have not ended, by method");
    describe_counter!(CALL_ERRORS, "Failed calls, by method and reason of the error");
    describe_counter!(
        PLANNED_ENDS,
        "Calls that the server ended as planned, to go on elsewhere, by method and reason"
    );
    describe_gauge!(CONNECTIONS, "Open connections of callers");
    describe_counter!(CONNECTIONS_CUT, "Connections that the server cut, by cause");
    describe_counter!(ACCEPT_ERRORS, "Times that the server could not accept a connection");
    describe_gauge!(POLLS, "Sessions that are polled, by the status seen last");
    describe_gauge!(WATCHES, "Open watches, by the status of their session");
    describe_gauge!(QUOTA_RATE, "Requests per second to GoToAssist that are allowed now");
    describe_gauge!(QUOTA_LIMIT, "Requests per second to GoToAssist that are allowed at best");
    describe_gauge!(QUOTA_USED, "Requests to GoToAssist in the latest second");
    describe_gauge!(QUOTA_WAITING, "Requests that wait for the quota, by class");
    describe_gauge!(UPSTREAM_WELL, "1 if GoToAssist answers as it should, else 0");
    describe_gauge!(TASKS, "Tasks of the runtime that have not ended");
    describe_gauge!(STALE_WATCHES, "Open watches whose session GoToAssist has failed to tell of");
    describe_gauge!(
        TOKEN_VALIDITY,
        Unit::Seconds,
        "How long the service's own access token is still valid"
    );
    describe_gauge!(
        TOKEN_FAILING,
        "1 if the latest refresh of the service's own access token failed, else 0"
    );
    describe_counter!(CERTIFICATE_RELOADS, "Changes of the certificate files, by result");
}

/// Brings the gauges up to date that follow the state of the service.
pub(super) fn set_gauges(
    polls: &[feed::Overview],
    quota: &quota::Snapshot,
    token: Option<&token::Snapshot>,
    is_upstream_well: bool,
) {
    for status in Status::ALL {
        let name = if status == Status::Unknown { "unknown" } else { status.name() };
        let of_status = || polls.iter().filter(|poll| poll.status == status);
        gauge!(POLLS, "status" => name).set(count(of_status().count()));
        gauge!(WATCHES, "status" => name).set(count(of_status().map(|poll| poll.watchers).sum()));
    }
    let stale = polls.iter().filter(|poll| poll.is_stale).map(|poll| poll.watchers).sum();
    gauge!(STALE_WATCHES).set(count(stale));
    gauge!(QUOTA_RATE).set(quota.rate);
    gauge!(QUOTA_LIMIT).set(quota.limit);
    gauge!(QUOTA_USED).set(count(quota.used));
    gauge!(QUOTA_WAITING, "class" => "unary").set(count(quota.waiting_unary));
    gauge!(QUOTA_WAITING, "class" => "watch").set(count(quota.waiting_watches));
    gauge!(TASKS).set(count(Handle::current().metrics().num_alive_tasks()));
    gauge!(UPSTREAM_WELL).set(truth(is_upstream_well));
    if let Some(token) = token {
        gauge!(TOKEN_VALIDITY).set(token.expires_in.as_secs_f64());
        gauge!(TOKEN_FAILING).set(truth(token.is_failing));
    }
}

fn truth(answer: bool) -> f64 {
    f64::from(u8::from(answer))
}

fn count(number: usize) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}
