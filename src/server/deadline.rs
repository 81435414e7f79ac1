//! Ends calls from outside: on their deadline with `DEADLINE_EXCEEDED`, and in a drain those whose
//! request is still incomplete. Before the headers that is a Trailers-Only answer, afterwards trailers in
//! the stream.
//!
//! tonic's own timer, which `super::http2` leaves out, answers CANCELLED and covers the headers only.

use std::{
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tower::{Layer, Service};

use super::request_body::RequestState;
use crate::grpc::{deadline::Deadline, status};

/// Puts a [`Deadline`] in the extensions of each request that has one, and enforces it.
#[derive(Clone, Debug)]
pub struct DeadlineLayer {
    default: Duration,
    drain: CancellationToken,
}

impl DeadlineLayer {
    /// A call without a deadline of its own has `default` until its headers are sent. Once `drain` is
    /// cancelled, no call waits for the rest of its request.
    pub fn new(default: Duration, drain: CancellationToken) -> Self {
        Self { default, drain }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner, layer: self.clone() }
    }
}

/// See [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct DeadlineService<S> {
    inner: S,
    layer: DeadlineLayer,
}

impl<S, B, R> Service<Request<B>> for DeadlineService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<DeadlineBody<R>>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, S::Error>>, DeadlineFuture<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match Deadline::read(request.headers()) {
            Err(status) => Either::Left(ready(Ok(trailers_only(status)))),
            Ok(deadline) => {
                if let Some(deadline) = deadline {
                    request.extensions_mut().insert(deadline);
                }
                let timer = match deadline {
                    Some(Deadline(at)) => sleep_until(at),
                    None => sleep(self.layer.default),
                };
                let incomplete = |state: &RequestState| Incomplete {
                    state: state.clone(),
                    drain: self.layer.drain.clone(),
                    drained: None,
                };
                let incomplete = request.extensions().get().map(incomplete);
                Either::Right(DeadlineFuture {
                    inner: Some(self.inner.call(request)),
                    timer: Some(Box::pin(timer)),
                    is_own_deadline: deadline.is_some(),
                    incomplete,
                })
            }
        }
    }
}

type Timer = Pin<Box<Sleep>>;

fn is_over(timer: &mut Option<Timer>, cx: &mut Context<'_>) -> bool {
    timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
}

/// A call whose request may be incomplete.
struct Incomplete {
    state: RequestState,
    drain: CancellationToken,
    /// Most requests are complete at the first look, and never wait for this.
    drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// Whether a drain ends the call, because its request is incomplete.
fn is_drained(incomplete: &mut Option<Incomplete>, cx: &mut Context<'_>) -> bool {
    let Some(call) = incomplete else { return false };
    if !call.state.is_incomplete() {
        *incomplete = None;
        return false;
    }
    let drain = || Box::pin(call.drain.clone().cancelled_owned());
    call.drained.get_or_insert_with(drain).as_mut().poll(cx).is_ready()
}

/// Ends a call from outside: whoever still reads its request gets its end.
fn close(incomplete: &mut Option<Incomplete>) {
    if let Some(call) = incomplete.take() {
        call.state.close();
    }
}

fn trailers_only<R>(status: Status) -> Response<DeadlineBody<R>> {
    let body = |Empty| DeadlineBody { inner: None, timer: None, incomplete: None };
    status.into_http::<Empty>().map(body)
}

#[derive(Default)]
struct Empty;

pin_project! {
    /// The answer, or DEADLINE_EXCEEDED.
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: Option<F>,
        timer: Option<Timer>,
        is_own_deadline: bool,
        incomplete: Option<Incomplete>,
    }
}

impl<F, R, E> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<DeadlineBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if is_over(this.timer, cx) {
            this.inner.set(None);
            close(this.incomplete);
            return Poll::Ready(Ok(trailers_only(status::deadline_exceeded())));
        }
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        match inner.poll(cx) {
            Poll::Ready(Ok(response)) => {
                // The default is for the headers alone: a watch has no deadline by itself.
                let timer = this.timer.take().filter(|_| *this.is_own_deadline);
                let incomplete = this.incomplete.take();
                let body = |body| DeadlineBody { inner: Some(body), timer, incomplete };
                Poll::Ready(Ok(response.map(body)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if is_drained(this.incomplete, cx) => {
                this.inner.set(None);
                close(this.incomplete);
                Poll::Ready(Ok(trailers_only(status::draining_incomplete())))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

pin_project! {
    /// The answer's messages, until the deadline.
    pub struct DeadlineBody<R> {
        #[pin]
        inner: Option<R>,
        timer: Option<Timer>,
        incomplete: Option<Incomplete>,
    }
}

impl<R: Body<Data = Bytes>> Body for DeadlineBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // An answer that is already whole is given whole.
        let end = if !inner.is_end_stream() && is_over(this.timer, cx) {
            status::deadline_exceeded()
        } else {
            let frame = inner.poll_frame(cx);
            if frame.is_ready() || !is_drained(this.incomplete, cx) {
                return frame;
            }
            status::draining_incomplete()
        };
        this.inner.set(None);
        close(this.incomplete);
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&end)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The status as the trailers of a stream.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Its message and details are ours, so they fit into headers.
    let _ = status.add_header(&mut trailers);
    trailers
}
