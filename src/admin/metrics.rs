//! The process's metrics in Prometheus text, and all their names on one page.

use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// Buckets of all durations, in seconds: calls take milliseconds, watches up to an hour.
const SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Every counter: name and meaning. Counters end in `_total`.
const COUNTERS: &[(&str, &str)] = &[
    ("gotoassist_accept_errors_total", "Times the server could not accept a connection"),
    ("gotoassist_breaker_refusals_total", "Requests not sent since GoToAssist fails, by circuit"),
    ("gotoassist_call_errors_total", "Failed calls by the reason of their error"),
    ("gotoassist_certificate_reloads_total", "Changes of the certificate files, by result"),
    ("gotoassist_connections_cut_total", "Connections cut by the server, by cause"),
    ("gotoassist_finished_cache_hits_total", "Calls answered from what is known to be final"),
    ("gotoassist_retries_total", "Requests to GoToAssist that were tried again"),
    ("gotoassist_single_flight_joins_total", "Calls that joined a request already under way"),
    ("gotoassist_unknown_fields_total", "Fields the schema does not know or cannot hold, by name"),
];

/// Every gauge: name and meaning.
const GAUGES: &[(&str, &str)] = &[
    ("gotoassist_breaker_open_circuits", "Circuits of the breaker that are open, by circuit"),
    ("gotoassist_build_info", "Always 1, with the version of the program"),
    ("gotoassist_connections", "Open connections of callers"),
    ("rpc_server_active_calls", "Calls that have not ended"),
];

/// Every duration, in seconds: name and meaning.
const DURATIONS: &[(&str, &str)] = &[
    ("http_client_request_duration_seconds", "Duration of requests to GoToAssist"),
    ("rpc_server_call_duration_seconds", "Duration of calls, streams to their end"),
];

/// Renders the metrics of the whole process. All clones are one.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    /// Installs the process's recorder, once: later calls give the same.
    pub fn install() -> Result<Self, BuildError> {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let handle = builder()?.install_recorder()?;
        let metrics = Self { handle, process: Collector::default() };
        describe();
        metrics.process.describe();
        Ok(INSTALLED.get_or_init(|| metrics).clone())
    }

    /// The metrics as Prometheus reads them.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Moves what was recorded into the buckets. Unless this or [`Self::render`] is called now and
    /// then, histograms grow.
    pub fn keep_up(&self) {
        self.handle.run_upkeep();
    }
}

/// A recorder with our buckets.
pub fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
}

/// Gives every metric its meaning, in the recorder that is installed.
pub fn describe() {
    for &(name, meaning) in COUNTERS {
        describe_counter!(name, meaning);
    }
    for &(name, meaning) in GAUGES {
        describe_gauge!(name, meaning);
    }
    for &(name, meaning) in DURATIONS {
        describe_histogram!(name, Unit::Seconds, meaning);
    }
    gauge!("gotoassist_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
