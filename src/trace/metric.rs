//! The metric of the traces, with its name and help text.

use metrics::{counter, describe_counter};

const SPANS: &str = "gotoassist_trace_spans_total";

/// Sets the help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(SPANS, "Spans for the collector of traces, by result");
}

pub(super) fn count(result: &'static str, spans: usize) {
    counter!(SPANS, "result" => result).increment(u64::try_from(spans).unwrap_or(u64::MAX));
}
