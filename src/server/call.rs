//! Handles one call from its headers to its end. Enforces its deadline, catches panics of its
//! handler, ends it if the server drains while its request is incomplete, and records how it ended.
//!
//! If the call is ended from outside before its headers were sent, the caller gets a Trailers-Only
//! response. After the headers, it gets trailers. tonic's own timer answers CANCELLED and covers
//! only the headers, and tonic resets the stream after a panic.

mod record;

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Sleep, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt as _};

use self::record::{Record, Reporter};
use super::request_body::RequestState;
use crate::{
    admin::failures::Failures,
    grpc::{deadline::Deadline, methods, status},
    trace::Tracer,
};

/// The answer of a service.
type BoxedAnswer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Answers calls with a service. All clones share it.
#[derive(Clone)]
pub struct Calls {
    service: Arc<dyn Fn(Request<Body>) -> BoxedAnswer + Send + Sync>,
    reporter: Arc<Reporter>,
    default_deadline: Duration,
    drain: CancellationToken,
}

/// The settings of [`Calls`].
#[derive(Debug)]
pub struct CallSettings {
    /// The share of successful calls that are logged.
    pub log_ok_calls: f64,
    /// How long a call without a deadline may take until its headers are sent.
    pub default_deadline: Duration,
    /// Collects the failures of calls.
    pub failures: Failures,
    /// Traces every call.
    pub tracer: Tracer,
    /// Once this token is cancelled, no call waits for the rest of its request.
    pub drain: CancellationToken,
}

impl Calls {
    /// Answers calls with `service`.
    pub fn new<S>(service: S, settings: CallSettings) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let CallSettings { log_ok_calls, default_deadline, failures, tracer, drain } = settings;
        Self {
            service: Arc::new(move |request| Box::pin(service.clone().oneshot(request))),
            reporter: Arc::new(Reporter::new(methods::names(), log_ok_calls, failures, tracer)),
            default_deadline,
            drain,
        }
    }

    /// Answers one call. If the call has a [`Deadline`], it is in the extensions of the request.
    async fn answer(self, mut request: Request<Body>) -> Response<CallBody> {
        let state = request.extensions().get::<RequestState>().cloned().unwrap_or_default();
        let record = Record::begin(self.reporter, &mut request);
        let deadline = match Deadline::read(request.headers()) {
            Ok(deadline) => deadline,
            Err(refusal) => return trailers_only(record, refusal.into_http()),
        };
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let mut timer = Box::pin(match deadline {
            Some(Deadline(at)) => sleep_until(at),
            None => sleep(self.default_deadline),
        });
        let answered = {
            // A panic loses only this call. The service must be unwind-safe anyway, because all
            // calls share it.
            let service = AssertUnwindSafe((self.service)(request)).catch_unwind();
            tokio::select! {
                biased;
                () = timer.as_mut() => Err(status::deadline_exceeded()),
                answered = service => answered.map_err(|_| status::failed()),
                () = drained(&self.drain, &state) => Err(status::draining_incomplete()),
            }
        };
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(end) => {
                state.close();
                end.into_http()
            }
        };
        if response.headers().contains_key(Status::GRPC_STATUS) {
            return trailers_only(record, response);
        }
        response.map(|messages| {
            // The default deadline covers only the headers, because a watch may have no deadline.
            let timer = deadline.map(|_| timer);
            let incomplete = state.is_incomplete().then(|| {
                let drained = Box::pin(self.drain.cancelled_owned());
                Incomplete { state, drained }
            });
            CallBody(Some(OpenCall { messages, record, timer, incomplete }))
        })
    }
}

impl Service<Request<Body>> for Calls {
    type Response = Response<CallBody>;
    type Error = Infallible;
    /// Boxed, because hyper keeps space for the future as long as the stream lives, but a watch
    /// needs it only until its headers are sent.
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request).map(Ok))
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

/// Ends the call with its headers.
fn trailers_only(record: Record, response: Response<Body>) -> Response<CallBody> {
    record.end(Some(response.headers()));
    response.map(|_| CallBody(None))
}

/// Waits until a drain ends the call because its request is incomplete.
async fn drained(drain: &CancellationToken, state: &RequestState) {
    // Most requests are already complete here.
    if state.is_incomplete() {
        drain.cancelled().await;
    }
    if !state.is_incomplete() {
        pending::<()>().await;
    }
}

/// The body of a response, which ends with the call.
pub struct CallBody(Option<OpenCall>);

struct OpenCall {
    messages: Body,
    record: Record,
    timer: Option<Pin<Box<Sleep>>>,
    incomplete: Option<Incomplete>,
}

/// A request that may be incomplete.
struct Incomplete {
    state: RequestState,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl OpenCall {
    /// Polls the next frame of the response, or the trailers that end the call from outside.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // The deadline does not cut off a response that is already complete.
        let end = if !self.messages.is_end_stream() && self.is_over(cx) {
            status::deadline_exceeded()
        } else {
            let messages = Pin::new(&mut self.messages);
            match catch_unwind(AssertUnwindSafe(|| messages.poll_frame(cx))) {
                Ok(Poll::Pending) if self.is_drained(cx) => status::draining_incomplete(),
                Ok(polled) => return polled,
                Err(_) => status::failed(),
            }
        };
        if let Some(incomplete) = &self.incomplete {
            incomplete.state.close();
        }
        let mut trailers = HeaderMap::new();
        // This cannot fail: the service itself wrote the message and the details.
        let _ = end.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }

    fn is_drained(&mut self, cx: &mut Context<'_>) -> bool {
        self.incomplete.take_if(|incomplete| !incomplete.state.is_incomplete());
        let incomplete = self.incomplete.as_mut();
        incomplete.is_some_and(|incomplete| incomplete.drained.as_mut().poll(cx).is_ready())
    }
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(call) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(call.poll_frame(cx));
        let is_data = matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if !is_data && let Some(call) = self.0.take() {
            call.record.end(frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref()));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|call| call.messages.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |call| call.messages.size_hint())
    }
}

impl fmt::Debug for CallBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBody").field("is_open", &self.0.is_some()).finish()
    }
}
