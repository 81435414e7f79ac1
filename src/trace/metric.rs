//! The metric of the traces: its name, and what it tells an operator.

use metrics::{counter, describe_counter};

const SPANS: &str = "gotoassist_trace_spans_total";

/// Gives it its help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(SPANS, "Spans for the collector of traces, by what became of them");
}

pub(super) fn count(result: &'static str, spans: usize) {
    counter!(SPANS, "result" => result).increment(u64::try_from(spans).unwrap_or(u64::MAX));
}
