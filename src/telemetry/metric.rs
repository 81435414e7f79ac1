//! The metric of the log.

use metrics::{counter, describe_counter};

const LINES_DROPPED: &str = "gotoassist_log_lines_dropped_total";

/// Sets the number of lines dropped since the start. It also sets the help text each time, because
/// the log starts before the recorder is installed.
pub(super) fn set_lines_dropped(lines: u64) {
    describe_counter!(
        LINES_DROPPED,
        "Lines of the log that were dropped because the reader of stderr was too slow"
    );
    counter!(LINES_DROPPED).absolute(lines);
}
