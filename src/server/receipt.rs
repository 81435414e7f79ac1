//! Whether a request has come in whole, or was broken off. Until then its call has not begun, and a
//! drain need not wait for it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// Tells of one request. In its extensions.
#[derive(Clone, Debug)]
pub(super) struct Receipt(Arc<AtomicU8>);

/// There is more to come, or to be read.
const OPEN: u8 = 0;
/// All has come in and was read.
const WHOLE: u8 = 1;
/// The client has reset the stream, or is gone.
const BROKEN: u8 = 2;

impl Receipt {
    /// Whether there is more to come, or to be read.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OPEN
    }

    /// Whether the client broke the request off.
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Relaxed) == BROKEN
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Relaxed);
    }
}

pin_project! {
    /// The body of a request, which fills in its receipt.
    pub(super) struct ReceiptBody<B> {
        #[pin]
        inner: B,
        receipt: Receipt,
    }
}

impl<B: Body> ReceiptBody<B> {
    /// The body, and its receipt.
    pub fn new(inner: B) -> (Self, Receipt) {
        let state = if inner.is_end_stream() { WHOLE } else { OPEN };
        let receipt = Receipt(Arc::new(AtomicU8::new(state)));
        (Self { inner, receipt: receipt.clone() }, receipt)
    }
}

impl<B: Body<Data = Bytes>> Body for ReceiptBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if matches!(frame, Some(Err(_))) {
            this.receipt.set(BROKEN);
        } else if frame.is_none() || this.inner.is_end_stream() {
            this.receipt.set(WHOLE);
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
