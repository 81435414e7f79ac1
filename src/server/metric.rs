//! The metrics of the server. The metrics of calls follow OpenTelemetry's conventions for RPC.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use tokio::runtime::Handle;

use super::gate::Cut;
use crate::grpc::reason::Reason;

pub(super) const CALL_DURATION: &str = "rpc_server_call_duration_seconds";
pub(super) const ACTIVE_CALLS: &str = "rpc_server_active_calls";
pub(super) const CALL_ERRORS: &str = "gotoassist_call_errors_total";
pub(super) const PLANNED_ENDS: &str = "gotoassist_planned_ends_total";
pub(super) const CONNECTIONS: &str = "gotoassist_connections";
pub(super) const CONNECTIONS_CUT: &str = "gotoassist_connections_cut_total";
pub(super) const ACCEPT_ERRORS: &str = "gotoassist_accept_errors_total";
pub(super) const CERTIFICATE_RELOADS: &str = "gotoassist_certificate_reloads_total";

/// The results of `CERTIFICATE_RELOADS`.
pub(super) const LOADED: &str = "loaded";
pub(super) const BROKEN: &str = "broken";

const TASKS: &str = "gotoassist_tasks";

/// Describes the metrics. Has no effect before a recorder is installed.
pub(super) fn describe() {
    describe_histogram!(
        CALL_DURATION,
        Unit::Seconds,
        "Time of one call until its end, by method and status code"
    );
    describe_gauge!(ACTIVE_CALLS, "Calls that have not ended, by method");
    describe_counter!(CALL_ERRORS, "Failed calls, by method and reason of the error");
    describe_counter!(
        PLANNED_ENDS,
        "Calls that the server ended as planned, so that clients reconnect, by method and reason"
    );
    describe_gauge!(CONNECTIONS, "Open connections of callers");
    describe_counter!(CONNECTIONS_CUT, "Connections that the server cut, by cause");
    describe_counter!(ACCEPT_ERRORS, "Times that the server could not accept a connection");
    describe_gauge!(TASKS, "Tasks of the runtime that have not ended");
    describe_counter!(CERTIFICATE_RELOADS, "Changes of the certificate files, by result");
}

/// The service whose methods have all reasons from the start.
const OWN_SERVICE: &str = "gotoassist.remotesupport.v1.RemoteSupportService/";

/// Creates the series of all known labels. A counter that appears with its first event has not
/// increased in the eyes of Prometheus, so no alert would see that event.
pub(super) fn begin_at_zero(methods: &[String]) {
    for method in methods.iter().filter(|method| method.starts_with(OWN_SERVICE)) {
        for reason in Reason::ALL {
            let metric = if reason.is_planned() { PLANNED_ENDS } else { CALL_ERRORS };
            let labels = [("rpc_method", method.clone()), ("reason", reason.name().to_owned())];
            counter!(metric, &labels).increment(0);
        }
    }
    for cause in Cut::ALL {
        counter!(CONNECTIONS_CUT, "cause" => cause.name()).increment(0);
    }
    counter!(ACCEPT_ERRORS).increment(0);
    for result in [LOADED, BROKEN] {
        counter!(CERTIFICATE_RELOADS, "result" => result).increment(0);
    }
}

/// Brings the gauges of the process itself up to date.
pub(super) fn set_gauges() {
    let tasks = Handle::current().metrics().num_alive_tasks();
    gauge!(TASKS).set(u32::try_from(tasks).unwrap_or(u32::MAX));
}
