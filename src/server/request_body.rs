//! The body of a request, and how much of it has arrived. While the body is incomplete, its call
//! has not begun, and a drain does not wait for it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// How much of a request has arrived. The request has it in its extensions. All clones share it.
#[derive(Clone, Debug)]
pub(super) struct RequestState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    reader: AtomicWaker,
}

/// More bytes may arrive, or some are not read yet.
const OPEN: u8 = 0;
/// Everything has arrived and was read.
const COMPLETE: u8 = 1;
/// The client reset the stream or disconnected.
const BROKEN: u8 = 2;
/// The call has ended, so no more bytes are read.
const CLOSED: u8 = 3;

/// The default is the state of a complete request.
impl Default for RequestState {
    fn default() -> Self {
        Self::new(COMPLETE)
    }
}

impl RequestState {
    fn new(state: u8) -> Self {
        let shared = Shared { state: AtomicU8::new(state), reader: AtomicWaker::new() };
        Self(Arc::new(shared))
    }

    /// Whether more bytes may arrive, or some are not read yet.
    pub fn is_incomplete(&self) -> bool {
        self.is(OPEN)
    }

    /// Whether the client aborted the request.
    pub fn is_broken(&self) -> bool {
        self.is(BROKEN)
    }

    /// Ends the body for its reader. (The reflection service reads in its own task, which would
    /// otherwise keep the stream open as long as its client does.)
    pub fn close(&self) {
        self.set(CLOSED);
        self.0.reader.wake();
    }

    fn is(&self, state: u8) -> bool {
        self.0.state.load(Ordering::Acquire) == state
    }

    fn set(&self, state: u8) {
        self.0.state.store(state, Ordering::Release);
    }
}

pin_project! {
    /// The body of a request, which updates its state.
    pub(super) struct RequestBody<B> {
        #[pin]
        inner: Option<B>,
        state: RequestState,
    }
}

impl<B: Body> RequestBody<B> {
    /// Wraps a body. Also returns its state.
    pub fn new(inner: B) -> (Self, RequestState) {
        let state = RequestState::new(if inner.is_end_stream() { COMPLETE } else { OPEN });
        (Self { inner: Some(inner), state: state.clone() }, state)
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        this.state.0.reader.register(cx.waker());
        if this.state.is(CLOSED) {
            this.inner.set(None);
        }
        let Some(mut inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(inner.as_mut().poll_frame(cx));
        if matches!(frame, Some(Err(_))) {
            this.state.set(BROKEN);
        } else if frame.is_none() || inner.is_end_stream() {
            this.state.set(COMPLETE);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
