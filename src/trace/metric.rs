//! The metric of the traces, with its name and help text.

use metrics::{counter, describe_counter};

const SPANS: &str = "gotoassist_trace_spans_total";

/// The results.
pub(super) const EXPORTED: &str = "exported";
pub(super) const FAILED: &str = "failed";
pub(super) const DROPPED: &str = "dropped";

/// Sets the help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(SPANS, "Spans for the collector of traces, by result");
    // Otherwise no alert would see the first event.
    for result in [EXPORTED, FAILED, DROPPED] {
        count(result, 0);
    }
}

pub(super) fn count(result: &'static str, spans: usize) {
    counter!(SPANS, "result" => result).increment(u64::try_from(spans).unwrap_or(u64::MAX));
}
