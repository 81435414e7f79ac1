//! Serves HTTP/2 on a connection, from its first frame to its GOAWAY.
//!
//! This replaces tonic's `Server` for four reasons. tonic rotates all connections at the same age.
//! If it has a grace period, it cuts the connection at the end of this period, and never sends a
//! GOAWAY. Its timer answers CANCELLED. It does not bound the buffer of a stream.

use std::{pin::pin, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tracing::debug;

use super::{
    call::Calls,
    causes::whole,
    connection,
    connection::Received,
    gate::{Cut, count_cut},
    request_body::RequestBody,
    resets::Resets,
};
use crate::grpc::peer::Peer;

/// The largest send buffer of one stream, in bytes. With hyper's default of 400 KB, ten thousand
/// slow consumers would use 4 GB.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// How many bytes a client may send on one stream before the server reads them. Requests are
/// smaller.
const STREAM_WINDOW: u32 = 64 * 1024;
/// How many stream errors a client may cause on one connection. (h2 counts them over the whole life
/// of the connection.)
const MAX_STREAM_ERRORS: u32 = 10_000;
/// How often the server pings an idle connection, and how long the peer may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// How long a client may take to answer the ping of a graceful shutdown.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The settings of HTTP/2.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The greatest number of concurrent calls on one connection.
    pub max_streams: u32,
    /// The largest header list of a request in bytes, as RFC 9113 §6.5.2 counts them.
    pub max_header_list: u32,
    /// The age, ± 10 %, at which a connection gets its GOAWAY. Its client then reconnects, perhaps
    /// to another server.
    pub max_age: Option<Duration>,
    /// How long the calls of the connection may continue after the GOAWAY before it is cut.
    pub age_grace: Duration,
}

/// A connection that is ready for HTTP/2.
pub(super) struct Connection<'a, S> {
    pub stream: connection::Connection<S>,
    /// Counts the bytes from the client, which show that it is alive.
    pub received: &'a Received,
    /// The client.
    pub peer: Peer,
    /// Counts the calls that the client resets.
    pub resets: &'a Resets,
    pub settings: Settings,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection<'_, S> {
    /// Answers the calls with `calls` until the connection ends. Shuts down gracefully after
    /// `stop`.
    pub async fn serve(self, calls: &Calls, stop: &CancellationToken) {
        let Self { stream, received, peer, resets, settings } = self;
        let (calls, resets) = (calls.clone(), resets.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let unanswered = resets.expect_answer();
            let (parts, body) = request.into_parts();
            let (body, state) = RequestBody::new(body);
            let mut request = Request::from_parts(parts, tonic::body::Body::new(body));
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(state.clone());
            let call = calls.clone().call(request);
            async move {
                let answer = call.await;
                // If the client reset the request, nobody reads the answer, so it does not count.
                if !state.is_broken() {
                    unanswered.answered();
                }
                answer
            }
        });
        let mut http2 = pin!(builder(settings).serve_connection(TokioIo::new(stream), service));
        let is_rotated = tokio::select! {
            ended = http2.as_mut() => return log_end(&ended),
            () = stop.cancelled() => false,
            () = age(settings.max_age) => true,
        };
        let received_before = received.bytes();
        http2.as_mut().graceful_shutdown();
        if is_rotated {
            match timeout(settings.age_grace, http2).await {
                Ok(ended) => log_end(&ended),
                Err(_) => count_cut(Cut::TooOld),
            }
            return;
        }
        // A graceful shutdown waits for the answer to its ping. A dead client sends none.
        match timeout(ANSWER_LIMIT, http2.as_mut()).await {
            Ok(ended) => log_end(&ended),
            Err(_) if received.bytes() == received_before => count_cut(Cut::Dead),
            Err(_) => log_end(&http2.await),
        }
    }
}

fn builder(settings: Settings) -> Builder<TokioExecutor> {
    let (interval, limit) = KEEPALIVE;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(settings.max_header_list)
        // A client may cancel all its calls at once. `Resets` detects a client that never stops
        // cancelling.
        .max_pending_accept_reset_streams(usize::try_from(settings.max_streams).ok())
        .max_local_error_reset_streams(
            usize::try_from(settings.max_streams.max(MAX_STREAM_ERRORS)).ok(),
        )
        .max_send_buf_size(MAX_SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .keep_alive_interval(interval)
        .keep_alive_timeout(limit)
        // gRPC does not use the date header.
        .auto_date_header(false);
    builder
}

async fn age(max_age: Option<Duration>) {
    match max_age {
        Some(age) => sleep(age.mul_f64(0.9 + 0.2 * fastrand::f64())).await,
        None => std::future::pending().await,
    }
}

/// Logs a broken connection at debug level only, because each of its calls has its own record.
fn log_end(ended: &Result<(), hyper::Error>) {
    if let Err(error) = ended {
        debug!(error = whole(error), "connection broken");
    }
}
