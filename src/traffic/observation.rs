//! What is told about each request to the vendor, when it ends: a duration, a line in the log, its
//! span, and what its call counts.

use std::time::Duration;

use metrics::{Histogram, counter, histogram};
use tokio::time::Instant;
use tracing::debug;

use crate::{
    trace,
    traffic::{call_stats::CallStats, metric, quota::Class},
    wire::{ConnectionFailure, Error, endpoint::Name},
};

/// The `result` of a request that was answered as it should be.
const OK: &str = "ok";

/// The metrics that nearly every request moves, looked up once.
pub(super) struct RequestMetrics {
    unary_wait: Histogram,
    watch_wait: Histogram,
    session_ok: Histogram,
}

impl RequestMetrics {
    pub fn new() -> Self {
        let wait = |class| histogram!(metric::QUOTA_WAIT, "class" => class);
        Self {
            unary_wait: wait("unary"),
            watch_wait: wait("watch"),
            session_ok: duration(Name::Session, OK),
        }
    }

    pub fn record_wait(&self, class: Class, wait: Duration) {
        match class {
            Class::Unary => self.unary_wait.record(wait),
            Class::Watch(_) => self.watch_wait.record(wait),
        }
    }

    pub fn record_duration(&self, endpoint: Name, result: &'static str, took: Duration) {
        match endpoint {
            Name::Session if result == OK => self.session_ok.record(took),
            Name::Session | Name::SystemLinks => duration(endpoint, result).record(took),
        }
    }
}

fn duration(endpoint: Name, result: &'static str) -> Histogram {
    histogram!(metric::REQUEST_DURATION, "call" => endpoint.text(), "result" => result)
}

/// One request in metrics, log and traces, also one that nobody waits for any more.
pub(super) struct Observation<'a> {
    metrics: &'a RequestMetrics,
    endpoint: Name,
    /// The HTTP status, once there is one.
    pub status: Option<u16>,
    result: &'static str,
    connection: Option<ConnectionFailure>,
    began_at: Instant,
    call_stats: CallStats,
    span: trace::Span,
}

impl<'a> Observation<'a> {
    pub fn begin(
        metrics: &'a RequestMetrics,
        endpoint: Name,
        call_stats: CallStats,
        span: trace::Span,
    ) -> Self {
        let began_at = Instant::now();
        let (status, connection) = (None, None);
        Self {
            metrics,
            endpoint,
            status,
            result: "cancelled",
            connection,
            began_at,
            call_stats,
            span,
        }
    }

    pub fn end(&mut self, outcome: Result<(), &Error>) {
        (self.result, self.connection) = match outcome {
            Ok(()) => (OK, None),
            Err(error) => (error.kind.name(), error.connection),
        };
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let Self { metrics, endpoint, status, result, connection, began_at, call_stats, span } =
            self;
        let duration = began_at.elapsed();
        metrics.record_duration(*endpoint, result, duration);
        let cause = connection.map(ConnectionFailure::name);
        debug!(call = endpoint.text(), result, cause, ?duration, "asked GoToAssist");
        if let Some(cause) = cause {
            counter!(metric::CONNECTION_FAILURES, "cause" => cause).increment(1);
        }
        if let Some(status) = status {
            call_stats.answered(*status);
        }
        std::mem::take(span).end_request(*status, (*result != OK).then_some(*result));
    }
}
