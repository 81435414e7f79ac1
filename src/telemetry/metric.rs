//! The metric of the log.

use metrics::describe_counter;

pub(super) const LINES_DROPPED: &str = "gotoassist_log_lines_dropped_total";

/// Gives it its help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(
        LINES_DROPPED,
        "Lines of the log that were dropped because nobody read those before them"
    );
}
