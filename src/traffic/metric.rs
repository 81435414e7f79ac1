//! The metrics of the requests to the vendor. When a request ends, this module records its
//! duration, a log line, its span and the statistics of its call.

use metrics::{
    Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use strum::VariantNames as _;
use tokio::time::Instant;
use tracing::debug;

use super::{
    breaker,
    quota::{self, Class},
    stats::CallStats,
};
use crate::{
    credential::token,
    fleet, trace,
    wire::{ConnectionFailure, Error, endpoint::Name, unknown_fields},
};

pub(super) const RETRIES: &str = "gotoassist_retries_total";
pub(super) const FINISHED_CACHE_HITS: &str = "gotoassist_finished_cache_hits_total";
pub(super) const SHARED_REQUESTS: &str = "gotoassist_shared_requests_total";
pub(super) const BREAKER_REFUSALS: &str = "gotoassist_breaker_refusals_total";
pub(super) const BREAKER_OPEN: &str = "gotoassist_breaker_open_circuits";
const QUOTA_WAIT: &str = "gotoassist_quota_wait_seconds";

const REQUEST_DURATION: &str = "http_client_request_duration_seconds";
const CONNECTION_FAILURES: &str = "gotoassist_connection_failures_total";

const QUOTA_RATE: &str = "gotoassist_quota_rate";
const QUOTA_LIMIT: &str = "gotoassist_quota_limit";
const QUOTA_USED: &str = "gotoassist_quota_used";
const QUOTA_WAITING: &str = "gotoassist_quota_waiting";
const UPSTREAM_UP: &str = "gotoassist_upstream_up";

pub(super) fn describe() {
    unknown_fields::describe();
    token::describe();
    describe_histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "Time of one request to GoToAssist, by call and result"
    );
    describe_counter!(
        CONNECTION_FAILURES,
        "Requests to GoToAssist that got no connection or whose connection broke, by cause"
    );
    describe_counter!(RETRIES, "Requests to GoToAssist that were tried again, by call");
    describe_counter!(
        FINISHED_CACHE_HITS,
        "Calls for a finished session that were answered from memory"
    );
    describe_counter!(
        SHARED_REQUESTS,
        "Calls and polls that joined an identical request already in flight"
    );
    describe_counter!(
        BREAKER_REFUSALS,
        "Requests that were not sent because a circuit of the breaker is open, by circuit"
    );
    describe_gauge!(BREAKER_OPEN, "Circuits of the breaker that are open, by circuit");
    describe_histogram!(
        QUOTA_WAIT,
        Unit::Seconds,
        "Time that a request to GoToAssist waited for the quota, admitted or not, by class"
    );
    describe_gauge!(QUOTA_RATE, "Requests per second to GoToAssist that are allowed now");
    describe_gauge!(QUOTA_LIMIT, "Requests per second to GoToAssist that are allowed at best");
    describe_gauge!(QUOTA_USED, "Requests to GoToAssist in the latest second");
    describe_gauge!(QUOTA_WAITING, "Requests that wait for the quota, by class");
    describe_gauge!(UPSTREAM_UP, "1 if GoToAssist answers as it should, else 0");
    begin_at_zero();
}

/// Creates the series of all known labels, so that an alert sees the first event too.
fn begin_at_zero() {
    for cause in ConnectionFailure::VARIANTS {
        counter!(CONNECTION_FAILURES, "cause" => *cause).increment(0);
    }
    for call in Name::VARIANTS {
        counter!(RETRIES, "call" => *call).increment(0);
    }
    for circuit in breaker::CIRCUITS {
        counter!(BREAKER_REFUSALS, "circuit" => circuit).increment(0);
    }
    counter!(FINISHED_CACHE_HITS).increment(0);
    counter!(SHARED_REQUESTS).increment(0);
}

/// Brings the gauges up to date.
/// A replica of a fleet has an equal part of the quota, so that the sum over all is right.
pub(super) fn set_gauges(
    quota: &quota::Snapshot,
    standing: Option<fleet::Standing>,
    is_upstream_well: bool,
) {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let parts = standing.map_or(1.0, |standing| count(standing.replicas.max(1)));
    let is_part_already = standing.is_some_and(|standing| !standing.is_joined);
    gauge!(QUOTA_RATE).set(if is_part_already { quota.rate } else { quota.rate / parts });
    gauge!(QUOTA_LIMIT).set(quota.limit / parts);
    gauge!(QUOTA_USED).set(count(quota.used));
    gauge!(QUOTA_WAITING, "class" => "unary").set(count(quota.waiting_unary));
    gauge!(QUOTA_WAITING, "class" => "watch").set(count(quota.waiting_watches));
    gauge!(UPSTREAM_UP).set(f64::from(u8::from(is_upstream_well)));
}

/// The `result` of a successful request.
const OK: &str = "ok";

/// The histograms that nearly every request moves, looked up once.
pub(super) struct RequestMetrics {
    unary_wait: Histogram,
    watch_wait: Histogram,
    session_duration: Histogram,
    sessions_duration: Histogram,
    links_duration: Histogram,
}

impl RequestMetrics {
    pub fn new() -> Self {
        let wait = |class| histogram!(QUOTA_WAIT, "class" => class);
        Self {
            unary_wait: wait("unary"),
            watch_wait: wait("watch"),
            session_duration: duration(Name::Session, OK),
            sessions_duration: duration(Name::Sessions, OK),
            links_duration: duration(Name::SystemLinks, OK),
        }
    }

    /// How long requests of a class wait for the quota.
    pub fn wait(&self, class: &Class) -> &Histogram {
        match class {
            Class::Unary => &self.unary_wait,
            Class::Watch(_) => &self.watch_wait,
        }
    }

    fn duration_of_ok(&self, endpoint: Name) -> &Histogram {
        match endpoint {
            Name::Session => &self.session_duration,
            Name::Sessions => &self.sessions_duration,
            Name::SystemLinks => &self.links_duration,
        }
    }
}

fn duration(endpoint: Name, result: &'static str) -> Histogram {
    histogram!(REQUEST_DURATION, "call" => endpoint.text(), "result" => result)
}

/// Records a request when it is dropped, so that a cancelled request is recorded too.
pub(super) struct Observation<'a> {
    metrics: &'a RequestMetrics,
    endpoint: Name,
    began_at: Instant,
    /// The HTTP status, once there is one.
    pub status: Option<u16>,
    /// Why the request failed; `None` after a success.
    failure: Option<&'static str>,
    connection: Option<ConnectionFailure>,
    stats: CallStats,
    span: trace::Span,
}

impl<'a> Observation<'a> {
    pub fn begin(
        metrics: &'a RequestMetrics,
        endpoint: Name,
        stats: CallStats,
        span: trace::Span,
    ) -> Self {
        let (began_at, failure, connection) = (Instant::now(), Some("cancelled"), None);
        Self { metrics, endpoint, began_at, status: None, failure, connection, stats, span }
    }

    pub fn end<T>(&mut self, outcome: &Result<T, Error>) {
        let error = outcome.as_ref().err();
        self.failure = error.map(|error| error.kind.name());
        self.connection = error.and_then(|error| error.connection);
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let (call, took) = (self.endpoint.text(), self.began_at.elapsed());
        match self.failure {
            None => self.metrics.duration_of_ok(self.endpoint).record(took),
            Some(failure) => duration(self.endpoint, failure).record(took),
        }
        let result = self.failure.unwrap_or(OK);
        let cause = self.connection.map(ConnectionFailure::name);
        debug!(call, result, cause, duration = ?took, "asked GoToAssist");
        if let Some(cause) = cause {
            counter!(CONNECTION_FAILURES, "cause" => cause).increment(1);
        }
        if let Some(status) = self.status {
            self.stats.answered(status);
        }
        std::mem::take(&mut self.span).end_request(self.status, self.failure);
    }
}
