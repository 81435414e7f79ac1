//! Speaks HTTP/2 on a connection, from its first frame to its GOAWAY.
//!
//! In place of tonic's `Server`, whose connections all rotate at the same age, whose grace replaces
//! the GOAWAY instead of following it, whose timer answers CANCELLED, and which does not bound what
//! a stream may buffer.

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
    call::Calls, connection, connection::Received, gate::count_cut, request_body::RequestBody,
    resets::Resets,
};
use crate::grpc::peer::Peer;

/// Most that one stream buffers when its client does not read, in bytes. hyper's own 400 KB would
/// let ten thousand slow watchers take 4 GB.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// Most that a client may send on one stream before it is read, in bytes: a request is smaller.
const STREAM_WINDOW: u32 = 64 * 1024;
/// How many streams a client's errors may cost it in the life of a connection. (h2 counts them, and
/// does not count by time.)
const MAX_STREAM_ERRORS: u32 = 10_000;
/// How often an idle connection is asked whether its peer is still there, and how long it may take
/// to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// How long a client may take to answer when the server goes away.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How HTTP/2 is spoken.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Calls at once on one connection.
    pub max_streams: u32,
    /// Most bytes of headers a request may have, as RFC 9113 §6.5.2 counts them.
    pub max_header_list: u32,
    /// Age, ± 10 %, at which a connection gets its GOAWAY; its client then makes a new one,
    /// perhaps elsewhere.
    pub max_age: Option<Duration>,
    /// How long its calls may go on after that, before it is cut.
    pub age_grace: Duration,
}

/// A connection that is about to speak HTTP/2.
pub(super) struct Connection<'a, S> {
    pub stream: connection::Connection<S>,
    /// What the client has sent, by which it shows that it is still there.
    pub received: &'a Received,
    /// Who the client is.
    pub peer: Peer,
    /// Counts the calls that the client resets.
    pub resets: &'a Resets,
    pub settings: Settings,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection<'_, S> {
    /// Answers its calls by `calls` until it ends; on `stop` gracefully.
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
                // What answers a request that was broken off is an error that nobody reads.
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
                Err(_) => count_cut("too_old"),
            }
            return;
        }
        // A graceful shutdown waits for the answer to its ping, and a dead client sends none.
        match timeout(ANSWER_LIMIT, http2.as_mut()).await {
            Ok(ended) => log_end(&ended),
            Err(_) if received.bytes() == received_before => count_cut("dead"),
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
        // All calls may be cancelled at once; `Resets` finds a client that cancels without end.
        .max_pending_accept_reset_streams(usize::try_from(settings.max_streams).ok())
        .max_local_error_reset_streams(
            usize::try_from(settings.max_streams.max(MAX_STREAM_ERRORS)).ok(),
        )
        .max_send_buf_size(MAX_SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .keep_alive_interval(interval)
        .keep_alive_timeout(limit)
        // gRPC has no use for it.
        .auto_date_header(false);
    builder
}

async fn age(max_age: Option<Duration>) {
    match max_age {
        Some(age) => sleep(age.mul_f64(0.9 + 0.2 * fastrand::f64())).await,
        None => std::future::pending().await,
    }
}

/// A broken connection is its client's affair, and each of its calls has a record of its own.
fn log_end(ended: &Result<(), hyper::Error>) {
    if let Err(error) = ended {
        debug!(error = error as &dyn std::error::Error, "connection broken");
    }
}
