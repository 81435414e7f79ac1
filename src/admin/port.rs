//! The connections of the admin port. They are bounded in number and in time, so that clients that
//! send half a request, or do not read the answer, take no file descriptors from anybody.

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

/// Most open connections. One more closes the oldest: an honest request takes milliseconds, so a new
/// probe finds a place whatever the others do.
pub const MAX_CONNECTIONS: usize = 32;

/// How long a connection may take for its one request, from connecting to the last byte of the answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Serves all who connect to `listener`, until dropped.
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
        // Whether the client got its answer is the client's affair.
        _ = timeout(LIMIT, exchange) => {}
        _ = closed => {}
    }
}
