//! The metric of the log.

use metrics::{counter, describe_counter};

const LINES_DROPPED: &str = "gotoassist_log_lines_dropped_total";

/// Sets how many lines were dropped since the start. The help text comes with each value, since the
/// log starts before the recorder is installed.
pub(super) fn set_lines_dropped(lines: u64) {
    describe_counter!(
        LINES_DROPPED,
        "Lines of the log that were dropped because nobody read those before them"
    );
    counter!(LINES_DROPPED).absolute(lines);
}
