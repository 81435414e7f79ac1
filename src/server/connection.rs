//! The byte stream below HTTP/2. It counts the bytes that the client sends. After the server has
//! closed it, it keeps reading for a moment.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::http1;

/// Length of the HTTP/2 client preface in bytes (RFC 9113 §3.4).
const PREFACE: u64 = 24;

/// How long the server still reads after it sent the last byte. If it closed a socket with unread
/// bytes, the system would reset the connection, and the client would lose the bytes that it has
/// not read yet. In a drain, these bytes are the ends of its streams.
const LINGER: Duration = Duration::from_secs(1);

/// Counts the bytes that a client has sent. All clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Received(Arc<AtomicU64>);

impl Received {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(u64::try_from(bytes).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Returns the number of bytes.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the client has sent its HTTP/2 preface.
    pub fn has_preface(&self) -> bool {
        self.bytes() >= PREFACE
    }
}

/// A connection after the TLS handshake, if there is one.
pub(super) struct Connection<S> {
    stream: S,
    received: Received,
    /// The first bytes, until they are read again.
    first: Vec<u8>,
    /// Started when everything is sent.
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Wraps `stream`, and counts in `received` the bytes that it receives.
    pub fn new(stream: S, received: Received) -> Self {
        Self { stream, received, first: Vec::new(), linger: None }
    }

    /// Whether the client speaks HTTP/1.1. What this reads can be read again.
    pub async fn speaks_http1(&mut self) -> io::Result<bool> {
        loop {
            if let Some(is_request) = http1::is_request(&self.first) {
                return Ok(is_request);
            }
            // Enough for the preface of HTTP/2.
            let mut bytes = [0; 32];
            let count = self.stream.read(&mut bytes).await?;
            self.received.add(count);
            self.first.extend_from_slice(&bytes[..count]);
            if count == 0 {
                return Ok(false);
            }
        }
    }

    /// Reads and discards bytes until the client has closed the connection or [`LINGER`] is over.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.as_mut().is_some_and(|linger| linger.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut bytes = [0; 4096];
            let mut rest = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut rest));
            // The client has closed or reset the connection.
            if read.is_err() || rest.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..count]);
            self.first.drain(..count);
            if self.first.is_empty() {
                self.first = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.received.add(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

/// Writes are not vectored. h2 then copies the frames of small messages into one buffer and sends
/// them with one system call, instead of one for each message and one for its trailers.
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.linger = Some(Box::pin(sleep(LINGER)));
        }
        self.poll_rest(cx)
    }
}
