//! The memory of an idle session on a stream of `WatchSessions`, beyond its poll.
//!
//! This test is a program of its own because it replaces the allocator. Memory is counted as it was
//! asked for, so the result is the same on every machine.

#![cfg(feature = "command")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "it/kit/request.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod request;
#[path = "it/kit/server.rs"]
mod server;

use std::{sync::Arc, time::Duration};

use allocation_counter::measure;
use gotoassist_grpc::{
    clock::Clock,
    config::UpstreamConfig,
    feed::{BoxedReply, Key},
    grpc::caller::Callers,
    model::Session,
    proto::{
        WatchSessionRequest, WatchSessionsRequest, WatchSessionsResponse,
        watch_sessions_request::{Action, Add},
        watch_sessions_response::Body,
    },
    traffic,
    wire::Answer,
};
use server::Server;
use tokio::{
    runtime::Builder,
    sync::mpsc::{Sender, channel},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const SESSIONS: usize = 10_000;

/// The most bytes for each session.
const LIMIT: u64 = 600;

#[test]
fn an_idle_session_on_a_stream_takes_little_memory_beyond_its_poll() {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let server = runtime.block_on(async { serve() });
    let mut streams = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..3 {
        let allocated = measure(|| streams.push(runtime.block_on(open(&server))));
        bytes.push(allocated.bytes_current.unsigned_abs() / SESSIONS as u64);
    }
    println!("bytes for each session: {bytes:?}, the first with its poll");
    assert_eq!(server.service.watches.count(), 3 * SESSIONS);
    assert!(bytes[1..].iter().all(|bytes| *bytes <= LIMIT), "{bytes:?}");
    drop(streams);
    runtime.block_on(async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(server.service.watches.count(), 0);
        assert!(server.service.feed.overview().is_empty());
    });
}

/// A service in front of a vendor that answers at once.
fn serve() -> Server {
    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        upstream: UpstreamConfig,
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Arguments { upstream } = clap::Parser::parse_from([""]);
    let clock = Clock::system();
    let client = traffic::Client::new(&upstream, None, clock).unwrap();
    let read = move |key: Key, _| {
        let session = Session {
            session_id: key.session.as_str().to_owned(),
            upstream_status: "active".to_owned(),
            ..Session::default()
        };
        let answer = Answer { content: Arc::new(session), observed_at: clock.now() };
        Box::pin(std::future::ready(Ok(answer))) as BoxedReply
    };
    Server::assemble(client, read, None, Callers::Own, clock, |_, _| {})
}

/// A stream that has got the snapshot of each session.
async fn open(server: &Server) -> (Streaming<WatchSessionsResponse>, Sender<WatchSessionsRequest>) {
    let (sender, receiver) = channel(1);
    let sessions = (0..SESSIONS).map(|number| request::watch(&format!("250040{number:05}")));
    let add = Add { sessions: sessions.collect::<Vec<WatchSessionRequest>>(), ..Add::default() };
    sender.send(WatchSessionsRequest { action: Some(Action::Add(add)) }).await.unwrap();
    let requests = ReceiverStream::new(receiver);
    let stream = server.client().watch_sessions(request::authorized("t", requests)).await;
    let mut stream = stream.unwrap().into_inner();
    for _ in 0..SESSIONS {
        let message = stream.message().await.unwrap().expect("a message");
        assert!(matches!(message.body, Some(Body::Update(_))));
    }
    (stream, sender)
}
