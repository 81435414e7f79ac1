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
    metric::describe();
    let mut rounds = interval(INTERVAL);
    let mut report = Report::default();
    loop {
        rounds.tick().await;
        report.look(|| counter.dropped_lines());
        let dropped = u64::try_from(counter.dropped_lines()).unwrap_or(u64::MAX);
        metrics::counter!(metric::LINES_DROPPED).absolute(dropped);
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
