//! One client's connection: TLS if there is any, a deadline for its opening, and the switches
//! that cut it.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::accept::{self, Permit};
use crate::grpc::peer::Peer;

/// Length of the HTTP/2 client preface in bytes (RFC 9113 §3.4). hyper does not end a connection
/// that never sends it, not even in a graceful shutdown (hyperium/hyper#4170).
const PREFACE: usize = 24;

/// How long a connection is read on after its last byte was sent. What a client had sent and nobody
/// had read would make the system reset the connection when it is closed, and the client lose what
/// it has not read yet: in a drain, the ends of its streams.
const LINGER: Duration = Duration::from_secs(1);

/// A byte stream as the operating system gives it.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A client's connection.
pub struct Connection {
    transport: Transport,
    peer: Peer,
    opening: Option<Opening>,
    received: Arc<AtomicU64>,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs once all is sent.
    linger: Option<Pin<Box<Sleep>>>,
    _permit: Permit,
}

enum Transport {
    Plain(Box<dyn Socket>),
    Handshake(Box<tokio_rustls::Accept<Box<dyn Socket>>>),
    Tls(Box<TlsStream<Box<dyn Socket>>>),
}

/// What is watched until the client has shown that it speaks HTTP/2.
struct Opening {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    /// A connection whose TLS handshake and HTTP/2 preface must be in within `opening`.
    pub(super) fn new(
        socket: Box<dyn Socket>,
        peer: Peer,
        tls: Option<Arc<rustls::ServerConfig>>,
        opening: Duration,
        permit: Permit,
    ) -> Self {
        let transport = match tls {
            None => Transport::Plain(socket),
            Some(config) => {
                let accept = tokio_rustls::TlsAcceptor::from(config).accept(socket);
                Transport::Handshake(Box::new(accept))
            }
        };
        Self {
            transport,
            peer,
            opening: Some(Opening {
                missing: PREFACE,
                deadline: Box::pin(sleep(opening)),
                drained: Box::pin(permit.gate().drain.clone().cancelled_owned()),
            }),
            received: Arc::default(),
            killed: Box::pin(permit.gate().kill.clone().cancelled_owned()),
            linger: None,
            _permit: permit,
        }
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Counts the bytes that the client has sent, by which it shows that it is still there.
    pub(super) fn received_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// The stream to read from or write to, once nothing speaks against it.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Socket>>> {
        if let Some(cut) = self.poll_cut(cx) {
            accept::count_cut(cut);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, cut)));
        }
        if let Transport::Handshake(accept) = &mut self.transport {
            let stream = ready!(Pin::new(accept.as_mut()).poll(cx))
                .inspect_err(|_| accept::count_cut("tls_handshake_failed"))?;
            if let Some(certificates) = stream.get_ref().1.peer_certificates() {
                self.peer.prove(certificates);
            }
            self.transport = Transport::Tls(Box::new(stream));
        }
        match &mut self.transport {
            Transport::Plain(socket) => Poll::Ready(Ok(Pin::new(socket))),
            Transport::Tls(stream) => Poll::Ready(Ok(Pin::new(stream.as_mut()))),
            Transport::Handshake(_) => Poll::Pending,
        }
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        if self.killed.as_mut().poll(cx).is_ready() {
            return Some("killed");
        }
        let opening = self.opening.as_mut()?;
        if opening.drained.as_mut().poll(cx).is_ready() {
            return Some("drained");
        }
        opening.deadline.as_mut().poll(cx).is_ready().then_some("opening_timeout")
    }

    /// Reads what still comes, until the client has closed too or the time for it is over.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_over = |linger: &mut Pin<Box<Sleep>>| linger.as_mut().poll(cx).is_ready();
        if self.linger.as_mut().is_some_and(is_over) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut bytes = [0; 4096];
            let mut rest = ReadBuf::new(&mut bytes);
            let read = ready!(ready!(self.poll_stream(cx))?.poll_read(cx, &mut rest));
            // A client that breaks off has what it wants.
            if read.is_err() || rest.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn received(&mut self, bytes: usize) {
        self.received.fetch_add(u64::try_from(bytes).unwrap_or_default(), Ordering::Relaxed);
        if let Some(opening) = &mut self.opening {
            opening.missing = opening.missing.saturating_sub(bytes);
            if opening.missing == 0 {
                self.opening = None;
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(ready!(self.poll_stream(cx))?.poll_read(cx, buffer))?;
        self.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

/// Not vectored: h2 then copies the frames of small messages one behind the other and sends them with
/// one system call, instead of one call for each message and one for its trailers.
impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(ready!(self.poll_stream(cx))?.poll_shutdown(cx))?;
            self.linger = Some(Box::pin(sleep(LINGER)));
        }
        self.poll_rest(cx)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}
