//! One call, from its headers to its end: its deadline, a panic in its handler, a drain while its request
//! is incomplete, and the record of how it ended.
//!
//! An end from outside is a Trailers-Only answer before the headers, and trailers in the stream after
//! them. tonic's own timer answers CANCELLED and covers the headers only; a panic would make it reset
//! the stream.

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
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

use self::record::{Record, Reporter};
use super::request_body::RequestState;
use crate::{
    admin::failures::Failures,
    grpc::{deadline::Deadline, methods, status},
    trace::Tracer,
};

/// Answers calls by a service. Clones are one.
#[derive(Clone)]
pub struct Calls {
    service: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    reporter: Arc<Reporter>,
    default_deadline: Duration,
    drain: CancellationToken,
}

/// How calls are answered.
#[derive(Debug)]
pub struct CallSettings {
    /// The share of successful calls that are logged.
    pub log_ok_calls: f64,
    /// How long a call without a deadline of its own has until its headers are sent.
    pub default_deadline: Duration,
    /// Learns how calls failed.
    pub failures: Failures,
    /// Learns of every call.
    pub tracer: Tracer,
    /// Once it is cancelled, no call waits for the rest of its request.
    pub drain: CancellationToken,
}

impl Calls {
    /// Calls of `service`.
    pub fn new<S>(service: S, settings: CallSettings) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let CallSettings { log_ok_calls, default_deadline, failures, tracer, drain } = settings;
        Self {
            service: BoxCloneSyncService::new(service),
            reporter: Arc::new(Reporter::new(methods::names(), log_ok_calls, failures, tracer)),
            default_deadline,
            drain,
        }
    }

    /// The service finds the call's [`Deadline`] in the extensions of the request, if it has one.
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
            // The call is lost by a panic, but the service is shared by all calls anyhow.
            let service = AssertUnwindSafe(self.service.oneshot(request)).catch_unwind();
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
            // The default is for the headers alone: a watch has no deadline by itself.
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
    /// In a box, since hyper keeps the room for it as long as the stream lives, and a watch needs it
    /// only until its headers are sent.
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

/// The headers are the end of the call.
fn trailers_only(record: Record, response: Response<Body>) -> Response<CallBody> {
    record.end(Some(response.headers()));
    response.map(|_| CallBody(None))
}

/// Waits for a drain that ends the call, because its request is incomplete.
async fn drained(drain: &CancellationToken, state: &RequestState) {
    // Most requests are complete at the first look.
    if state.is_incomplete() {
        drain.cancelled().await;
    }
    if !state.is_incomplete() {
        pending::<()>().await;
    }
}

/// The messages of an answer, until the call ends.
pub struct CallBody(Option<OpenCall>);

struct OpenCall {
    messages: Body,
    record: Record,
    timer: Option<Pin<Box<Sleep>>>,
    incomplete: Option<Incomplete>,
}

/// A request of which there may be more to come.
struct Incomplete {
    state: RequestState,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl OpenCall {
    /// The next frame of the answer, or the trailers that end the call from outside.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // An answer that is already whole is given whole.
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
        // Its message and details are ours, so they fit into headers.
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
