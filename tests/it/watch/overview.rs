//! The overview of the polls, which the metrics and the status page show.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use gotoassist_grpc::{
    clock::Clock,
    feed::{Ask, BoxedReply, Key, PollIntervals},
    grpc::caller::Callers,
    model::Session,
    wire::Answer,
};

use super::world::unconnected_client;
use crate::kit::{request, server::Server};

/// On real threads: a lock that two of them take in different orders would stop both for ever.
#[test]
fn the_overview_does_not_hold_up_polls() {
    let (sender, receiver) = mpsc::channel();
    // If the runtime stops, only this thread does.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(look_while_sessions_change());
        sender.send(()).unwrap();
    });
    let finished = receiver.recv_timeout(Duration::from_secs(30));
    assert!(finished.is_ok(), "the polls and the overview wait for each other");
}

async fn look_while_sessions_change() {
    let clock = Clock::system();
    let version = Arc::new(AtomicU64::new(0));
    let read = move |key: Key, _: Ask| {
        let session = Session {
            session_id: key.session.as_str().to_owned(),
            upstream_status: "active".to_owned(),
            expert_name: Some(version.fetch_add(1, Ordering::Relaxed).to_string()),
            ..Session::default()
        };
        let answer = Answer { content: Arc::new(session), observed_at: clock.now() };
        Box::pin(std::future::ready(Ok(answer))) as BoxedReply
    };
    let server =
        Server::assemble(unconnected_client(clock), read, None, Callers::Own, clock, |feed, _| {
            let quick = Duration::from_millis(1);
            feed.intervals =
                PollIntervals { not_started: quick, waiting: quick, active: quick, ended: quick };
        });
    let mut watches = Vec::new();
    for number in 0..20 {
        let watch = request::authorized("t", request::watch(&number.to_string()));
        watches.push(server.client().watch_session(watch).await.unwrap());
    }
    let feed = server.service.feed.clone();
    let look = move || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            assert_eq!(feed.overview().len(), 20);
        }
    };
    tokio::task::spawn_blocking(look).await.unwrap();
}
