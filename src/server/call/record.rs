//! Records each call once, when it ends: its duration, log line, failure and span. This includes
//! calls whose client disconnected, which the layers of tower-http do not report.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use http::{HeaderMap, Request};
use metrics::{Gauge, Histogram, counter, gauge, histogram};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};
use tracing::{info, warn};

use crate::{
    admin::failures::Failures,
    grpc::{peer::Peer, reason::Reason, session_digest::NotedSession},
    proto::code,
    server::metric,
    trace::{self, Outcome, Tracer},
    traffic::CallStats,
};

/// Receives the records of calls.
pub(super) struct Reporter {
    methods: HashMap<Arc<str>, Arc<Method>>,
    other: Arc<Method>,
    log_ok_calls: f64,
    failures: Failures,
    tracer: Tracer,
}

impl Reporter {
    /// Creates a reporter for `methods`, in the form `package.Service/Method`. Calls of other
    /// methods are counted as `_OTHER`, because clients can invent names. `log_ok_calls` is the
    /// share of successful calls that are logged.
    pub fn new(methods: &[String], log_ok_calls: f64, failures: Failures, tracer: Tracer) -> Self {
        metric::describe();
        metric::begin_at_zero(methods);
        let methods = methods.iter().map(|name| Method::new(name.as_str().into()));
        let methods = methods.map(|method| (method.name.clone(), method)).collect();
        Self { methods, other: Method::new("_OTHER".into()), log_ok_calls, failures, tracer }
    }
}

/// A method, with the metrics that each of its calls updates.
struct Method {
    name: Arc<str>,
    active: Gauge,
    duration_of_ok: Histogram,
}

impl Method {
    fn new(name: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            active: gauge!(metric::ACTIVE_CALLS, "rpc_method" => name.clone()),
            duration_of_ok: Self::duration(name.clone(), Code::Ok),
            name,
        })
    }

    fn duration(name: Arc<str>, code: Code) -> Histogram {
        histogram!(
            metric::CALL_DURATION,
            "rpc_method" => name,
            "rpc_response_status_code" => code::name(code),
        )
    }
}

/// The record of a call that has not ended. If it is dropped without an end, the client has
/// disconnected.
pub(super) struct Record {
    reporter: Arc<Reporter>,
    method: Arc<Method>,
    peer: Option<IpAddr>,
    start: Instant,
    trace: trace::Span,
    /// The id of our own trace, or of the caller's.
    trace_id: Option<String>,
    /// The session that the call is about.
    session: NotedSession,
    /// Counts the requests to the vendor for this call.
    stats: CallStats,
    end: Option<(Code, Option<ErrorReason>)>,
}

impl Record {
    /// Begins the record when the headers of the call have arrived.
    pub fn begin<B>(reporter: Arc<Reporter>, request: &mut Request<B>) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let method = Arc::clone(reporter.methods.get(path).unwrap_or(&reporter.other));
        let peer = request.extensions().get::<Peer>().and_then(Peer::address);
        let trace = reporter.tracer.call(&method.name, request.headers());
        let trace_id = trace.trace_id().or_else(|| trace_id(request.headers()).map(str::to_owned));
        let stats = CallStats::default();
        request.extensions_mut().insert(stats.clone());
        let session = NotedSession::default();
        request.extensions_mut().insert(session.clone());
        method.active.increment(1);
        let peer = peer.map(|address| address.ip());
        if reporter.tracer.is_on() {
            request.extensions_mut().insert(trace.cause());
        }
        let start = Instant::now();
        Self { reporter, method, peer, start, trace, trace_id, session, stats, end: None }
    }

    /// Ends the record with the status in these headers.
    pub fn end(mut self, headers: Option<&HeaderMap>) {
        let is_ok = |headers: &HeaderMap| {
            headers.get(Status::GRPC_STATUS).is_some_and(|status| status == "0")
        };
        self.end = Some(if headers.is_some_and(is_ok) {
            (Code::Ok, None)
        } else if let Some(status) = headers.and_then(Status::from_header_map) {
            (status.code(), status.get_details_error_info().map(ErrorReason::of))
        } else {
            (Code::Unknown, None)
        });
    }

    /// Writes the log line of the call.
    fn log(&self, severity: Severity, code: Code, why: Option<&ErrorReason>, seconds: f64) {
        macro_rules! line {
            ($level:ident, $text:literal) => {
                $level!(
                    method = &*self.method.name,
                    code = code::name(code),
                    reason = why.map(|why| &*why.reason),
                    cause = why.and_then(|why| why.cause.as_deref()),
                    session_digest = self.session.get().map(tracing::field::display),
                    seconds,
                    upstream_status = self.stats.upstream_status(),
                    attempts = self.stats.attempts(),
                    peer = self.peer.map(tracing::field::display),
                    trace_id = self.trace_id.as_deref(),
                    $text
                )
            };
        }
        match severity {
            Severity::Failed => line!(warn, "call failed"),
            Severity::Refused => line!(info, "call ended"),
            Severity::Fine => {
                if fastrand::f64() < self.reporter.log_ok_calls {
                    line!(info, "call ended");
                }
            }
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (code, why) = self.end.take().unwrap_or((Code::Cancelled, None));
        let (name, seconds) = (code::name(code), self.start.elapsed().as_secs_f64());

        self.method.active.decrement(1);
        match code {
            Code::Ok => self.method.duration_of_ok.record(seconds),
            _ => Method::duration(self.method.name.clone(), code).record(seconds),
        }
        let severity = Severity::of(code, why.as_ref());
        if let Some(ErrorReason { reason, cause }) = &why {
            let ends = match severity {
                Severity::Fine => metric::PLANNED_ENDS,
                Severity::Refused | Severity::Failed => {
                    self.reporter.failures.record(reason, cause.as_deref(), name);
                    metric::CALL_ERRORS
                }
            };
            let labels = [("rpc_method", self.method.name.to_string()), ("reason", reason.clone())];
            counter!(ends, &labels).increment(1);
        }

        let outcome = match severity {
            Severity::Failed => Outcome::Failed,
            Severity::Fine | Severity::Refused => Outcome::Fine,
        };
        let reason = why.as_ref().map(|why| &*why.reason);
        std::mem::take(&mut self.trace).end_call(name, reason, outcome);
        self.log(severity, code, why.as_ref(), seconds);
    }
}

/// Returns the id of the caller's trace, from the W3C `traceparent` header.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_version, id) = (parts.next()?, parts.next()?);
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// The reason of an error.
struct ErrorReason {
    reason: String,
    /// What was wrong with the connection to the vendor, if that caused the error.
    cause: Option<String>,
}

impl ErrorReason {
    fn of(mut info: ErrorInfo) -> Self {
        Self { cause: info.metadata.remove("cause"), reason: info.reason }
    }
}

/// What the end of a call means to an operator.
#[derive(Clone, Copy)]
enum Severity {
    /// The call ended with OK, or its end was planned.
    Fine,
    /// The caller is at fault, or the end is nobody's fault.
    Refused,
    /// The service or the vendor is at fault.
    Failed,
}

impl Severity {
    fn of(code: Code, why: Option<&ErrorReason>) -> Self {
        if code == Code::Ok || why.is_some_and(|why| Reason::names_planned(&why.reason)) {
            Self::Fine
        } else if code::is_fault(code) {
            Self::Failed
        } else {
            Self::Refused
        }
    }
}
