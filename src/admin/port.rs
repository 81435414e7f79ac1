//! The connections of a port for small HTTP requests, such as the admin port. Their number and
//! duration are limited, so that clients that send half a request or do not read the answer cannot
//! use up the file descriptors.

use std::{collections::VecDeque, convert::Infallible, future::Future, time::Duration};

use axum::{Router, serve::Listener};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::timeout,
};

/// The greatest number of open connections of the admin port. A normal request takes milliseconds,
/// so a new probe is always served.
pub const MAX_CONNECTIONS: usize = 32;

/// The limits of the admin port.
pub(super) const LIMITS: Limits = Limits {
    connections: MAX_CONNECTIONS,
    duration: Duration::from_secs(10),
    drain: Duration::ZERO,
};

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The limits of a port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The greatest number of open connections. One more closes the oldest.
    pub connections: usize,
    /// The longest time of a connection, from connecting to the last byte of the answer to its one
    /// request.
    pub duration: Duration,
    /// How long open connections may go on when the port stops.
    pub drain: Duration,
}

/// Serves the connections of `listener` until `stop` completes. Then closes the listener, and
/// returns when the open connections have ended or been cut. `router` gets the address of the peer.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: impl Fn(L::Addr) -> Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let mut connections = FuturesUnordered::new();
    let mut open: VecDeque<oneshot::Sender<Infallible>> = VecDeque::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            // A connection that was told to close holds its socket until it is polled again.
            (socket, peer) = listener.accept(), if connections.len() <= limits.connections => {
                open.retain(|connection| !connection.is_closed());
                if open.len() == limits.connections {
                    open.pop_front();
                }
                let (keep_open, closed) = oneshot::channel();
                open.push_back(keep_open);
                connections.push(connection(socket, router(peer), limits.duration, closed));
            }
            Some(()) = connections.next() => {}
        }
    }
    drop(listener);
    let drained = async { while connections.next().await.is_some() {} };
    let _ = timeout(limits.drain, drained).await;
}

/// Answers one request, until `closed` or the limit.
async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    limit: Duration,
    closed: oneshot::Receiver<Infallible>,
) {
    let exchange = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    tokio::select! {
        // The server does not care whether the client got its answer.
        _ = timeout(limit, exchange) => {}
        _ = closed => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        io,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures_util::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, DuplexStream, duplex},
        task::unconstrained,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Clients that connect at once and send nothing.
    struct Crowd {
        waiting: usize,
        open: Vec<DuplexStream>,
        most_open: Arc<AtomicUsize>,
        all_came: CancellationToken,
    }

    impl Listener for Crowd {
        type Io = DuplexStream;
        type Addr = ();

        async fn accept(&mut self) -> (DuplexStream, ()) {
            if self.waiting == 0 {
                self.all_came.cancel();
                return pending().await;
            }
            self.waiting -= 1;
            let (client, socket) = duplex(64);
            self.open.push(client);
            self.open.retain_mut(|client| unconstrained(client.read_u8()).now_or_never().is_none());
            self.most_open.fetch_max(self.open.len(), Ordering::Relaxed);
            (socket, ())
        }

        fn local_addr(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_oldest_connection_is_closed_before_the_next_is_accepted() {
        let (most_open, all_came) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
        let crowd = Crowd {
            waiting: 1_000,
            open: Vec::new(),
            most_open: most_open.clone(),
            all_came: all_came.clone(),
        };
        let served = serve(crowd, |()| Router::new(), LIMITS, all_came.cancelled());
        timeout(Duration::from_mins(1), served).await.unwrap();
        assert_eq!(most_open.load(Ordering::Relaxed), MAX_CONNECTIONS + 1);
    }
}
