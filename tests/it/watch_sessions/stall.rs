//! Very many sessions at once do not hold up other tasks.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use gotoassist_grpc::{
    clock::Clock,
    feed::{Ask, BoxedReply, Key},
    grpc::caller::Callers,
    model::Session,
    proto::{
        WatchSessionsResponse,
        incoming::WatchSessionsRequestParts,
        watch_sessions_request::{Action, Add},
        watch_sessions_response::Body,
    },
    wire::Answer,
};
use prost::Message as _;
use rustix::time::{ClockId, clock_gettime};
use tonic::Streaming;
use tonic_prost::ProstCodec;

use crate::{
    kit::{request, server::Server, soon},
    watch::world::unconnected_client,
};

const COUNT: usize = 10_000;

/// The longest poll. Code without optimizations takes some fifteen times as long.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 5 });

#[test]
fn ten_thousand_at_once_stall_no_task() {
    // The processor time is the least exact on a busy machine, so the best of some tries counts.
    let runs: Vec<_> = (0..5).map(|_| longest_poll()).collect();
    println!("the longest poll, and the time to drop the stream: {runs:?}");
    assert!(runs.iter().any(|(longest, _)| *longest < LIMIT), "{runs:?}");
    assert!(runs.iter().any(|(_, drop)| *drop < LIMIT / 5), "{runs:?}");
}

/// Adds all sessions with one message, and reads until each has its snapshot. Returns the longest
/// poll until then, and how long it takes to drop the stream.
fn longest_poll() -> (Duration, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = server();
        let sessions = (0..COUNT).map(|number| request::watch(&format!("250040{number:05}")));
        let add = Add { sessions: sessions.collect(), ..Add::default() }.encode_to_vec();
        let message = WatchSessionsRequestParts { add: Some(add.into()), remove: None };
        assert!(matches!(whole(&message), Action::Add(add) if add.sessions.len() == COUNT));
        let mut longest = Duration::ZERO;
        // The stream of the service is polled by the task that reads from it, as in a connection.
        let stream = soon(timed(&mut longest, follow(&server, message))).await;
        let start = processor_time();
        drop(stream);
        (longest, processor_time().saturating_sub(start))
    })
}

async fn follow(
    server: &Server,
    message: WatchSessionsRequestParts,
) -> Streaming<WatchSessionsResponse> {
    let path = "/gotoassist.remotesupport.v1.RemoteSupportService/WatchSessions";
    let mut client = tonic::client::Grpc::new(server.calls());
    client.ready().await.unwrap();
    let codec: ProstCodec<WatchSessionsRequestParts, WatchSessionsResponse> = ProstCodec::default();
    // The client's side stays open.
    let requests =
        futures_util::StreamExt::chain(tokio_stream::once(message), tokio_stream::pending());
    let request = request::authorized("t", requests);
    let stream = client.streaming(request, path.parse().unwrap(), codec).await;
    let mut stream = stream.unwrap().into_inner();
    for _ in 0..COUNT {
        let message = stream.message().await.unwrap().expect("a message");
        assert!(matches!(message.body, Some(Body::Update(_))), "{message:?}");
    }
    stream
}

/// The message as the client means it.
fn whole(message: &WatchSessionsRequestParts) -> Action {
    let bytes = message.encode_to_vec();
    gotoassist_grpc::proto::WatchSessionsRequest::decode(&*bytes).unwrap().action.unwrap()
}

/// Runs a future, and notes the longest processor time of one poll.
async fn timed<T>(longest: &mut Duration, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let start = processor_time();
        let poll = future.as_mut().poll(cx);
        *longest = (*longest).max(processor_time().saturating_sub(start));
        poll
    })
    .await
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// A service in front of a vendor that answers at once.
fn server() -> Server {
    let clock = Clock::system();
    let read = move |key: Key, _: Ask| {
        let session = Session {
            session_id: key.session.as_str().to_owned(),
            upstream_status: "active".to_owned(),
            ..Session::default()
        };
        let answer = Answer { content: Arc::new(session), observed_at: clock.now() };
        Box::pin(std::future::ready(Ok(answer))) as BoxedReply
    };
    Server::assemble(unconnected_client(clock), read, None, Callers::Own, clock, |_, _| {})
}
