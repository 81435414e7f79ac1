//! What is told about each request to the vendor, when it ends: a duration, a line in the log, its
//! span, and what its call counts.

use std::time::Duration;

use metrics::{Histogram, counter, histogram};
use tokio::time::Instant;
use tracing::debug;

use super::{ConnectionFailure, Error, metric, quota::Class, tally::Tally};
use crate::trace;

/// The `result` of a request that was answered as it should be.
const OK: &str = "ok";

/// What the vendor's API can be asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Session,
    SystemLinks,
}

impl Call {
    /// Its name in metrics and log.
    pub fn name(self) -> &'static str {
        match self {
            Call::Session => "session",
            Call::SystemLinks => "system_links",
        }
    }
}

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
            session_ok: duration(Call::Session, OK),
        }
    }

    pub fn record_wait(&self, class: Class, wait: Duration) {
        match class {
            Class::Unary => self.unary_wait.record(wait),
            Class::Watch(_) => self.watch_wait.record(wait),
        }
    }

    pub fn record_duration(&self, call: Call, result: &'static str, took: Duration) {
        match call {
            Call::Session if result == OK => self.session_ok.record(took),
            Call::Session | Call::SystemLinks => duration(call, result).record(took),
        }
    }
}

fn duration(call: Call, result: &'static str) -> Histogram {
    histogram!(metric::REQUEST_DURATION, "call" => call.name(), "result" => result)
}

/// One request in metrics, log and traces, also one that nobody waits for any more.
pub(super) struct Observation<'a> {
    metrics: &'a RequestMetrics,
    call: Call,
    /// The HTTP status, once there is one.
    pub status: Option<u16>,
    result: &'static str,
    connection: Option<ConnectionFailure>,
    began_at: Instant,
    tally: Tally,
    span: trace::Span,
}

impl<'a> Observation<'a> {
    pub fn begin(metrics: &'a RequestMetrics, call: Call, tally: Tally, span: trace::Span) -> Self {
        let began_at = Instant::now();
        let (status, connection) = (None, None);
        Self { metrics, call, status, result: "cancelled", connection, began_at, tally, span }
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
        let Self { metrics, call, status, result, connection, began_at, tally, span } = self;
        let duration = began_at.elapsed();
        metrics.record_duration(*call, result, duration);
        let cause = connection.map(ConnectionFailure::name);
        debug!(call = call.name(), result, cause, ?duration, "asked GoToAssist");
        if let Some(cause) = cause {
            counter!(metric::CONNECTION_FAILURES, "cause" => cause).increment(1);
        }
        if let Some(status) = status {
            tally.answered(*status);
        }
        std::mem::take(span).end_request(*status, (*result != OK).then_some(*result));
    }
}
