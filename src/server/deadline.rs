//! Ends every call on its deadline with `DEADLINE_EXCEEDED`: before the headers as a Trailers-Only
//! answer, afterwards by trailers in the stream.
//!
//! tonic's own timer, which `super::http2` leaves out, answers CANCELLED and covers the headers only.

use std::{
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tonic::Status;
use tower::{Layer, Service};

use crate::grpc::{deadline::Deadline, status};

/// Puts a [`Deadline`] in each request's extensions and enforces it.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner }
    }
}

/// See [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct DeadlineService<S> {
    inner: S,
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
                Either::Right(DeadlineFuture {
                    timer: deadline.map(timer),
                    inner: Some(self.inner.call(request)),
                })
            }
        }
    }
}

type Timer = Pin<Box<Sleep>>;

fn timer(deadline: Deadline) -> Timer {
    Box::pin(sleep_until(deadline.0))
}

fn is_over(timer: &mut Option<Timer>, cx: &mut Context<'_>) -> bool {
    timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
}

fn trailers_only<R>(status: Status) -> Response<DeadlineBody<R>> {
    status.into_http::<Empty>().map(|Empty| DeadlineBody { inner: None, timer: None })
}

#[derive(Default)]
struct Empty;

pin_project! {
    /// The answer, or DEADLINE_EXCEEDED.
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: Option<F>,
        timer: Option<Timer>,
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
            return Poll::Ready(Ok(trailers_only(status::deadline_exceeded())));
        }
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Pending };
        let response = ready!(inner.poll(cx))?;
        let timer = this.timer.take();
        Poll::Ready(Ok(response.map(|body| DeadlineBody { inner: Some(body), timer })))
    }
}

pin_project! {
    /// The answer's messages, until the deadline.
    pub struct DeadlineBody<R> {
        #[pin]
        inner: Option<R>,
        timer: Option<Timer>,
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
        if !inner.is_end_stream() && is_over(this.timer, cx) {
            this.inner.set(None);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&status::deadline_exceeded())))));
        }
        inner.poll_frame(cx)
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
