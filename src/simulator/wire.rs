//! The bare socket, for faults that no HTTP library would produce.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::sleep,
};

/// A connection that hyper serves until a fault takes its socket.
#[derive(Clone)]
pub(super) struct Wire(Arc<Mutex<Option<TcpStream>>>);

/// One thing that a fault does with a bare socket.
#[derive(Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// Sends byte by byte, with a pause after each.
    Trickle(Vec<u8>, Duration),
    /// Sends again and again until the client leaves.
    Repeat(Vec<u8>),
    Wait(Duration),
    /// Closes the connection with RST in place of FIN.
    Reset,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    /// Takes the socket from hyper, which can no longer write to it.
    pub(super) fn take(&self) -> Option<TcpStream> {
        self.0.lock().take()
    }

    /// Polls the socket; once it is taken, the result is `taken`.
    fn poll<T>(
        &self,
        taken: Poll<io::Result<T>>,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.0.lock().as_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => taken,
        }
    }
}

/// Does the steps in turn, then closes the connection.
pub(super) async fn perform(steps: Vec<Step>, mut stream: TcpStream) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await?,
            Step::Trickle(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    sleep(pause).await;
                }
            }
            Step::Repeat(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
            Step::Wait(pause) => sleep(pause).await,
            Step::Reset => return stream.set_zero_linger(),
        }
    }
    stream.shutdown().await
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The result is not an error. On an error, hyper would drop the request that plays the
        // fault.
        self.poll(Poll::Pending, |stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        self.poll(taken, |stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(Poll::Ready(Ok(())), |stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(Poll::Ready(Ok(())), |stream| stream.poll_shutdown(cx))
    }
}
