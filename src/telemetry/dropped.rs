//! Reports dropped log lines: at once in a metric, and in the log when no more are being dropped.

use std::time::Duration;

use tokio::time::interval;
use tracing::warn;
use tracing_appender::non_blocking::ErrorCounter;

use super::metric;

/// Time between two checks of the number of dropped lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// Checks the counter at once, and then at each interval. Never ends.
pub(super) async fn report(counter: ErrorCounter) {
    let mut rounds = interval(INTERVAL);
    let mut report = Report::default();
    loop {
        rounds.tick().await;
        report.look(|| counter.dropped_lines());
        metric::set_lines_dropped(u64::try_from(counter.dropped_lines()).unwrap_or(u64::MAX));
    }
}

/// The number of reported lines, and the number at the last check.
#[derive(Default)]
struct Report {
    reported: usize,
    seen: usize,
}

impl Report {
    /// Reports the lines that were dropped since the last report, once no more are being dropped.
    /// If the report itself is dropped, the next check repeats it.
    fn look(&mut self, dropped: impl Fn() -> usize) {
        let now = dropped();
        if now == self.seen && now != self.reported {
            warn!(lines = now - self.reported, "lines of the log were dropped");
            if dropped() == now {
                self.reported = now;
            }
        }
        self.seen = dropped();
    }
}

#[cfg(test)]
mod tests {
    use std::{io, pin::pin};

    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::time::timeout;
    use tracing_appender::non_blocking;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_metric_has_its_help_text_if_the_recorder_is_installed_later() {
        let (log, _guard) = non_blocking(io::sink());
        let mut reporting = pin!(report(log.error_counter()));
        timeout(INTERVAL / 2, &mut reporting).await.unwrap_err();
        let recorder = PrometheusBuilder::new().build_recorder();
        let _recording = metrics::set_default_local_recorder(&recorder);
        timeout(INTERVAL, &mut reporting).await.unwrap_err();
        let scrape = recorder.handle().render();
        assert!(scrape.contains("# HELP gotoassist_log_lines_dropped_total Lines"), "{scrape}");
    }
}
