//! Renders the metrics of the process as Prometheus text. Each module names and describes its own
//! metrics in `metric.rs`.

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use parking_lot::Mutex;

/// Buckets of all durations, in seconds. Calls take milliseconds, and watches up to an hour.
const SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

const BUILD_INFO: &str = "gotoassist_build_info";

/// Renders the metrics of the whole process. All clones share one recorder.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    /// Installs the recorder of the process. Later calls return the same recorder. Call this
    /// first, because metrics that were recorded or described before are lost.
    pub fn install() -> Result<Self, BuildError> {
        static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);
        let mut installed = INSTALLED.lock();
        if let Some(installed) = &*installed {
            return Ok(installed.clone());
        }
        let handle = builder()?.install_recorder()?;
        let metrics = Self { handle, process: Collector::default() };
        metrics.process.describe();
        describe_gauge!(BUILD_INFO, "Always 1, with the version of the program");
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
        Ok(installed.insert(metrics).clone())
    }

    /// The metrics as Prometheus text.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Moves recorded values into the histogram buckets. Memory grows unless this or
    /// [`Self::render`] is called regularly.
    pub fn keep_up(&self) {
        self.handle.run_upkeep();
    }
}

/// A recorder with the buckets of this service.
pub fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
