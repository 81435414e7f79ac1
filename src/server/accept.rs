//! Accepts connections up to a limit, and takes each through the TLS handshake to HTTP/2. tonic's
//! own accept loop spins when file descriptors run out, waits forever for a silent client, and
//! cannot be stopped completely.

use std::{io, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::{either::Either, sync::CancellationToken};
use tracing::warn;

use super::{
    call::Calls,
    connection::{Connection, Received},
    gate::{Cut, Gate, count_cut},
    http1, http2,
    listen::{Listener, Socket},
    metric,
    resets::Resets,
    tls::Tls,
};
use crate::grpc::peer::Peer;

/// How long to wait after an error that affects all clients, such as EMFILE.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves connections.
#[derive(Debug)]
pub struct Acceptor {
    /// The certificate to serve with. `None` means plain text.
    pub tls: Option<Arc<Tls>>,
    /// How long a client may take from the connection to the HTTP/2 preface, including TLS.
    pub handshake_timeout: Duration,
    /// Limits and cuts the connections.
    pub gate: Gate,
    /// The HTTP/2 settings.
    pub http2: http2::Settings,
    /// Answers the calls.
    pub calls: Calls,
    /// Starts a graceful shutdown.
    pub stop: CancellationToken,
}

impl Acceptor {
    /// Serves the connections of `listener` until it is stopped. Then it accepts no more
    /// connections, sends GOAWAY on all open ones, and returns when their last call has ended. That
    /// can take forever, unless [`Gate::kill`] cuts them. A connection over the limit is closed at
    /// once, so that its client tries another server instead of waiting.
    pub async fn serve(self, listener: Listener) {
        let this = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = this.stop.cancelled() => break,
                // Removes the connections that have ended.
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (socket, peer) = accept_with_retry(|| listener.accept()) => match this.gate.admit() {
                    Some(permit) => {
                        let this = this.clone();
                        connections.spawn(async move {
                            this.serve_one(socket, peer).await;
                            drop(permit);
                        });
                    }
                    None => count_cut(Cut::TooMany),
                },
            }
        }
        // New clients are refused from now on, and try another server.
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn serve_one(&self, socket: Socket, peer: Peer) {
        let received = Received::default();
        let resets = Resets::new(self.http2.max_streams);
        tokio::select! {
            () = self.handshake_and_serve(socket, peer, &received, &resets) => {}
            cause = self.cut(&received) => count_cut(cause),
            () = resets.exceeded() => count_cut(Cut::Resets),
        }
    }

    async fn handshake_and_serve(
        &self,
        socket: Socket,
        peer: Peer,
        received: &Received,
        resets: &Resets,
    ) {
        let (stream, peer) = match &self.tls {
            None => (Either::Left(socket), peer),
            Some(tls) => match TlsAcceptor::from(tls.current()).accept(socket).await {
                Ok(stream) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let peer = peer.with_certificates(certificates.unwrap_or_default());
                    (Either::Right(Box::new(stream)), peer)
                }
                Err(_) => return count_cut(Cut::TlsHandshakeFailed),
            },
        };
        let mut stream = Connection::new(stream, received.clone());
        match stream.speaks_http1().await {
            Ok(false) => {}
            Ok(true) => {
                count_cut(Cut::Http1);
                return http1::refuse(stream).await;
            }
            Err(_) => return,
        }
        let http2 = http2::Connection { stream, received, peer, resets, settings: self.http2 };
        http2.serve(&self.calls, &self.stop).await;
    }

    /// Waits until the connection must be cut, and returns the cause. hyper does not end a
    /// connection that never sends its preface, not even in a graceful shutdown
    /// (hyperium/hyper#4170).
    async fn cut(&self, received: &Received) -> Cut {
        tokio::select! {
            () = self.gate.kill.cancelled() => return Cut::Killed,
            () = self.gate.drain.cancelled() => if !received.has_preface() { return Cut::Drained },
            () = sleep(self.handshake_timeout) => if !received.has_preface() {
                return Cut::HandshakeTimeout
            },
        }
        self.gate.kill.cancelled().await;
        Cut::Killed
    }
}

/// Retries until a connection is accepted. Pauses after an error of the server itself: without free
/// file descriptors, `accept` would fail again at once.
async fn accept_with_retry<T, F>(mut accept: impl FnMut() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections");
                metrics::counter!(metric::ACCEPT_ERRORS).increment(1);
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_file_descriptors_it_waits_instead_of_spinning() {
        const EMFILE: i32 = 24;
        let start = Instant::now();
        let mut attempts = 0;
        accept_with_retry(|| {
            attempts += 1;
            let is_short = start.elapsed() < Duration::from_secs(2);
            ready(if is_short { Err(io::Error::from_raw_os_error(EMFILE)) } else { Ok(()) })
        })
        .await;
        assert_eq!(attempts, 21);
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_connection_does_not_delay_the_next_one() {
        let start = Instant::now();
        let mut errors = vec![io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionAborted];
        accept_with_retry(|| ready(errors.pop().map_or(Ok(()), |kind| Err(kind.into())))).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
