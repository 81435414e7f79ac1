//! The bare connection. A fault that no HTTP library would produce takes the socket away from
//! hyper and writes to it by itself.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection that hyper serves until somebody takes it over.
pub(super) struct Wire(Takeover);

/// The right to take the connection of a request over; hyper puts it into the request's
/// extensions.
#[derive(Clone)]
pub(super) struct Takeover(Arc<Mutex<Option<TcpStream>>>);

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Takeover(Arc::new(Mutex::new(Some(stream)))))
    }

    pub(super) fn takeover(&self) -> Takeover {
        self.0.clone()
    }
}

impl Takeover {
    /// The socket; hyper can no longer write to it.
    pub(super) fn take(&self) -> Option<TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn poll<T>(
        &self,
        taken: Poll<io::Result<T>>,
        with: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(stream) => with(Pin::new(stream)),
            None => taken,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Pending, not an error: hyper would drop the request that plays the fault.
        self.0.poll(Poll::Pending, |stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll(Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())), |stream| {
            stream.poll_write(cx, buf)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(Poll::Ready(Ok(())), |stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(Poll::Ready(Ok(())), |stream| stream.poll_shutdown(cx))
    }
}
