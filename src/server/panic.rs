//! A panic ends its own call with `INTERNAL`, whether before the headers or within a stream; tonic
//! resets the stream instead, and tower-http's layer does not see the stream.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tower::{Layer, Service};

use super::deadline::trailers;
use crate::grpc::status;

/// Answers `INTERNAL` where a call panics. The process's panic hook tells where it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct PanicLayer;

impl<S> Layer<S> for PanicLayer {
    type Service = PanicService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PanicService { inner }
    }
}

/// See [`PanicLayer`].
#[derive(Clone, Debug)]
pub struct PanicService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for PanicService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<PanicBody<R>>;
    type Error = S::Error;
    type Future = PanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The call is lost, but the service is shared by all calls anyhow.
        let inner = catch_unwind(AssertUnwindSafe(|| self.inner.call(request))).ok();
        PanicFuture { inner }
    }
}

fn failed() -> Status {
    status::failed()
}

pin_project! {
    /// The answer, or `INTERNAL`.
    pub struct PanicFuture<F> {
        #[pin]
        inner: Option<F>,
    }
}

impl<F, R, E> Future for PanicFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<PanicBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = this.inner.as_mut().as_pin_mut().and_then(|inner| {
            // What panicked is never polled again.
            catch_unwind(AssertUnwindSafe(|| inner.poll(cx))).ok()
        });
        if let Some(polled) = polled {
            return polled.map_ok(|response| response.map(|body| PanicBody { inner: Some(body) }));
        }
        this.inner.set(None);
        Poll::Ready(Ok(failed().into_http::<()>().map(|()| PanicBody { inner: None })))
    }
}

pin_project! {
    /// The answer's messages.
    pub struct PanicBody<R> {
        #[pin]
        inner: Option<R>,
    }
}

impl<R: Body<Data = Bytes>> Body for PanicBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if let Ok(polled) = catch_unwind(AssertUnwindSafe(|| inner.poll_frame(cx))) {
            return polled;
        }
        this.inner.set(None);
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&failed())))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
