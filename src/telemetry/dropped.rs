//! Reports lines that the log dropped: in a metric at once, and in the log when it flows again.

use std::time::Duration;

use tokio::time::interval;
use tracing::warn;
use tracing_appender::non_blocking::ErrorCounter;

use super::metric;

/// How often the number of dropped lines is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// Looks at the counter for ever. Its first look is at once.
pub(super) async fn report(counter: ErrorCounter) {
    let mut rounds = interval(INTERVAL);
    let mut report = Report::default();
    loop {
        rounds.tick().await;
        report.look(|| counter.dropped_lines());
        metric::set_lines_dropped(u64::try_from(counter.dropped_lines()).unwrap_or(u64::MAX));
    }
}

/// What has been reported, and what was seen.
#[derive(Default)]
struct Report {
    reported: usize,
    seen: usize,
}

impl Report {
    /// Reports the lines that were dropped since the latest report, once no more are being dropped.
    /// The report may be dropped as well, and is then repeated.
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
