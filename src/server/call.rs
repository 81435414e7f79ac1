//! What is said about each call, once, when it ends: a duration, a line in the log, its failure,
//! its span.
//! However it ends: also when the client goes away, which no layer of tower-http tells.

mod end;

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use metrics::{Gauge, Histogram, counter, gauge, histogram};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};
use tracing::{info, warn};

use self::end::{Verdict, Why};
use super::metric;
use crate::{
    admin::failures::Failures,
    grpc::{code, peer::Peer},
    trace::{self, Outcome, Tracer},
    traffic::CallStats,
};

/// Counts and logs every call.
#[derive(Clone)]
pub struct CallLayer {
    shared: Arc<Shared>,
}

struct Shared {
    methods: HashMap<Arc<str>, Arc<Method>>,
    other: Arc<Method>,
    log_ok_calls: f64,
    failures: Failures,
    tracer: Tracer,
}

impl CallLayer {
    /// `methods` as `package.Service/Method`; calls of others are counted as `_OTHER`, for clients
    /// choose these names. `log_ok_calls` is the share of successful calls that are logged.
    pub fn new(
        methods: impl IntoIterator<Item = String>,
        log_ok_calls: f64,
        failures: Failures,
        tracer: Tracer,
    ) -> Self {
        metric::describe();
        let methods = methods.into_iter().map(Arc::from).map(Method::new);
        let methods = methods.map(|method| (method.name.clone(), method)).collect();
        Self {
            shared: Arc::new(Shared {
                methods,
                other: Method::new("_OTHER".into()),
                log_ok_calls,
                failures,
                tracer,
            }),
        }
    }
}

impl fmt::Debug for CallLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// See [`CallLayer`].
#[derive(Clone)]
pub struct CallService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for CallService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<CallBody<R>>;
    type Error = S::Error;
    type Future = CallFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = Call::begin(Arc::clone(&self.shared), &mut request);
        CallFuture { inner: self.inner.call(request), call: Some(call) }
    }
}

/// A method, with the metrics that every call of it moves.
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

/// A call that has not ended. Dropped without an end, its client has gone away.
struct Call {
    shared: Arc<Shared>,
    method: Arc<Method>,
    peer: Option<IpAddr>,
    start: Instant,
    trace: trace::Span,
    /// The id of the caller's trace, or of our own.
    trace_id: Option<String>,
    /// What it has asked of the vendor.
    stats: CallStats,
    end: Option<(Code, Option<Why>)>,
}

impl Call {
    fn begin<B>(shared: Arc<Shared>, request: &mut Request<B>) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let method = Arc::clone(shared.methods.get(path).unwrap_or(&shared.other));
        let peer = request.extensions().get::<Peer>().and_then(Peer::address);
        let trace = shared.tracer.call(&method.name, request.headers());
        let trace_id = trace.trace_id().or_else(|| trace_id(request.headers()).map(str::to_owned));
        let stats = CallStats::default();
        request.extensions_mut().insert(stats.clone());
        method.active.increment(1);
        let peer = peer.map(|address| address.ip());
        if shared.tracer.is_on() {
            request.extensions_mut().insert(trace.cause());
        }
        let start = Instant::now();
        Self { shared, method, peer, start, trace, trace_id, stats, end: None }
    }

    /// It ended with a status that these headers hold.
    fn end(mut self, headers: Option<&HeaderMap>) {
        let is_ok = |headers: &HeaderMap| {
            headers.get(Status::GRPC_STATUS).is_some_and(|status| status == "0")
        };
        self.end = Some(if headers.is_some_and(is_ok) {
            (Code::Ok, None)
        } else if let Some(status) = headers.and_then(Status::from_header_map) {
            (status.code(), status.get_details_error_info().map(Why::of))
        } else {
            (Code::Unknown, None)
        });
    }

    /// The call's one line.
    fn log(&self, verdict: Verdict, code: Code, why: Option<&Why>, seconds: f64) {
        macro_rules! line {
            ($level:ident, $text:literal) => {
                $level!(
                    method = &*self.method.name,
                    code = code::name(code),
                    reason = why.map(|why| &*why.reason),
                    cause = why.and_then(|why| why.cause.as_deref()),
                    seconds,
                    upstream_status = self.stats.upstream_status(),
                    attempts = self.stats.attempts(),
                    peer = self.peer.map(tracing::field::display),
                    trace_id = self.trace_id.as_deref(),
                    $text
                )
            };
        }
        match verdict {
            Verdict::Failed => line!(warn, "call failed"),
            Verdict::Refused => line!(info, "call ended"),
            Verdict::Fine => {
                if fastrand::f64() < self.shared.log_ok_calls {
                    line!(info, "call ended");
                }
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let (code, why) = self.end.take().unwrap_or((Code::Cancelled, None));
        let (name, seconds) = (code::name(code), self.start.elapsed().as_secs_f64());

        self.method.active.decrement(1);
        match code {
            Code::Ok => self.method.duration_of_ok.record(seconds),
            _ => Method::duration(self.method.name.clone(), code).record(seconds),
        }
        let verdict = Verdict::of(code, why.as_ref());
        if let Some(Why { reason, cause }) = &why {
            let ends = match verdict {
                Verdict::Fine => metric::PLANNED_ENDS,
                Verdict::Refused | Verdict::Failed => {
                    self.shared.failures.record(reason, cause.as_deref(), name);
                    metric::CALL_ERRORS
                }
            };
            let labels = [("rpc_method", self.method.name.to_string()), ("reason", reason.clone())];
            counter!(ends, &labels).increment(1);
        }

        let outcome = match verdict {
            Verdict::Failed => Outcome::Failed,
            Verdict::Fine | Verdict::Refused => Outcome::Fine,
        };
        let reason = why.as_ref().map(|why| &*why.reason);
        std::mem::take(&mut self.trace).end_call(name, reason, outcome);
        self.log(verdict, code, why.as_ref(), seconds);
    }
}

/// The id of the caller's trace, from the W3C `traceparent` header.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_version, id) = (parts.next()?, parts.next()?);
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

pin_project! {
    /// The answer, with its call.
    pub struct CallFuture<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
    }
}

impl<F, R, E> Future for CallFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<CallBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        let mut call = this.call.take();
        match &result {
            // Trailers-Only: the headers are the end.
            Ok(response) if response.headers().contains_key(Status::GRPC_STATUS) => {
                if let Some(call) = call.take() {
                    call.end(Some(response.headers()));
                }
            }
            Ok(_) => {}
            Err(_) => {
                if let Some(call) = call.take() {
                    call.end(None);
                }
            }
        }
        Poll::Ready(result.map(|response| response.map(|inner| CallBody { inner, call })))
    }
}

pin_project! {
    /// The answer's messages, with their call.
    pub struct CallBody<R> {
        #[pin]
        inner: R,
        call: Option<Call>,
    }
}

impl<R: Body<Data = Bytes>> Body for CallBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        let is_data = matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if !is_data && let Some(call) = this.call.take() {
            let trailers = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref());
            call.end(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
