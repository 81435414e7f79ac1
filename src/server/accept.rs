//! The door: takes connections one by one, no more than may be open, and can close them all. tonic's
//! own spins when file descriptors run out, waits for ever on a silent client, and cannot be closed
//! for good.

use std::{fmt, io, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    connection::{Connection, Socket},
    listen::Listener,
    metric,
    tls::Tls,
};
use crate::grpc::peer::Peer;

/// How long to wait after an error that more than one client would meet, such as EMFILE.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts the open connections and closes them. All clones are one gate.
#[derive(Clone, Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    max_connections: usize,
    pub(super) drain: CancellationToken,
    pub(super) kill: CancellationToken,
}

impl Gate {
    /// A gate that lets `max_connections` be open at a time.
    pub fn new(max_connections: usize) -> Self {
        let max_connections = max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(max_connections)),
            max_connections,
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.max_connections - self.permits.available_permits()
    }

    /// Cuts the connections that have not begun to speak HTTP/2, now and from now on, because a
    /// graceful shutdown does not end these.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Cuts every connection. Clients see a broken stream: drain first.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    fn admit(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        metrics::gauge!(metric::CONNECTIONS).increment(1);
        Some(Permit { gate: self.clone(), _place: permit })
    }
}

/// The right to be open, given back when dropped.
pub(super) struct Permit {
    gate: Gate,
    _place: OwnedSemaphorePermit,
}

impl Permit {
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        metrics::gauge!(metric::CONNECTIONS).decrement(1);
    }
}

/// A client at the door.
pub struct Arrival {
    socket: Box<dyn Socket>,
    peer: Peer,
    tls: Option<Arc<rustls::ServerConfig>>,
    opening: Duration,
    permit: Permit,
}

impl Arrival {
    /// Its connection.
    pub(super) fn open(self) -> Connection {
        let Self { socket, peer, tls, opening, permit } = self;
        Connection::new(socket, peer, tls, opening, permit)
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Those who connect to `listener`, and must begin to speak HTTP/2 within `opening`, TLS included.
/// Never ends. A connection over the limit is closed at once, so that its client tries elsewhere
/// instead of waiting.
pub fn incoming(
    listener: Listener,
    tls: Option<Arc<Tls>>,
    opening: Duration,
    gate: Gate,
) -> impl Stream<Item = Arrival> + Send {
    stream::unfold((listener, tls, gate), move |(listener, tls, gate)| async move {
        let (socket, peer, permit) = admitted(&listener, &gate).await;
        let config = tls.as_ref().map(|tls| tls.current());
        let arrival = Arrival { socket, peer, tls: config, opening, permit };
        Some((arrival, (listener, tls, gate)))
    })
}

async fn admitted(listener: &Listener, gate: &Gate) -> (Box<dyn Socket>, Peer, Permit) {
    loop {
        let (socket, peer) = patiently(|| listener.accept()).await;
        match gate.admit() {
            Some(permit) => return (socket, peer, permit),
            None => count_cut("too_many"),
        }
    }
}

pub(super) fn count_cut(cause: &'static str) {
    metrics::counter!(metric::CONNECTIONS_CUT, "cause" => cause).increment(1);
}

/// Accepts until there is a connection, and waits when the trouble is the server's own: without
/// free file descriptors `accept` fails again at once.
async fn patiently<T, F>(mut accept: impl FnMut() -> F) -> T
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
        patiently(|| {
            attempts += 1;
            let is_short = start.elapsed() < Duration::from_secs(2);
            ready(if is_short { Err(io::Error::from_raw_os_error(EMFILE)) } else { Ok(()) })
        })
        .await;
        assert_eq!(attempts, 21);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_left_costs_the_next_one_nothing() {
        let start = Instant::now();
        let mut errors = vec![io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionAborted];
        patiently(|| ready(errors.pop().map_or(Ok(()), |kind| Err(kind.into())))).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
