//! The connections of the admin port. Their number and duration are limited, so that clients that
//! send half a request or do not read the answer cannot use up the file descriptors.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{Router, serve::Listener};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};

/// The greatest number of open connections. One more closes the oldest. A normal request takes
/// milliseconds, so a new probe is always served.
pub const MAX_CONNECTIONS: usize = 32;

/// Longest time of a connection, from connecting to the last byte of the answer to its one request.
const LIMIT: Duration = Duration::from_secs(10);

/// Serves the connections of `listener`, until it is dropped.
pub(super) async fn serve(mut listener: TcpListener, router: Router) -> Infallible {
    let mut connections = FuturesUnordered::new();
    let mut open: VecDeque<oneshot::Sender<Infallible>> = VecDeque::new();
    loop {
        tokio::select! {
            (socket, _) = Listener::accept(&mut listener) => {
                open.retain(|connection| !connection.is_closed());
                if open.len() == MAX_CONNECTIONS {
                    open.pop_front();
                }
                let (keep_open, closed) = oneshot::channel();
                open.push_back(keep_open);
                connections.push(connection(socket, router.clone(), closed));
            }
            Some(()) = connections.next() => {}
        }
    }
}

/// Answers one request, until `closed` or the limit.
async fn connection(socket: TcpStream, router: Router, closed: oneshot::Receiver<Infallible>) {
    let exchange = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    tokio::select! {
        // The server does not care whether the client got its answer.
        _ = timeout(LIMIT, exchange) => {}
        _ = closed => {}
    }
}
