//! Which ends of a stream are resumed, when, and with which token, on paused time and without
//! sockets.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::{
    client::{Interruption, ResumingWatch},
    proto::SessionStatus,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{next, request};
use crate::kit::fake_service::{End, Script, ending, message, missing, play};

#[tokio::test(start_paused = true)]
async fn ok_without_a_terminal_message_is_a_broken_stream() {
    let mut played = Played::new([
        Script(vec![message(1, SessionStatus::Waiting)], End::Ok),
        Script(vec![message(2, SessionStatus::Complete)], End::Ok),
    ]);
    assert_eq!(played.tokens().await, ["token-1", "token-2"]);
    assert_eq!(played.asked(), ["", "token-1"]);
    assert_eq!(played.interruptions().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_delay_that_the_service_asks_for_is_kept() {
    let asked = Duration::from_secs(7);
    let draining = ending(Code::Unavailable, "SERVER_DRAINING", Some(asked));
    let mut played = Played::new([
        Script(vec![message(1, SessionStatus::Waiting)], End::With(draining)),
        Script(vec![message(2, SessionStatus::Complete)], End::Ok),
    ]);
    let start = Instant::now();
    assert_eq!(played.tokens().await, ["token-1", "token-2"]);
    assert_eq!(start.elapsed().as_secs(), asked.as_secs());
}

#[tokio::test(start_paused = true)]
async fn tries_in_a_row_come_further_and_further_apart_until_a_message_comes() {
    let gone = || Script(vec![], End::With(Status::unavailable("gone")));
    let mut scripts: Vec<_> = (0..12).map(|_| gone()).collect();
    scripts.push(Script(vec![message(1, SessionStatus::Active)], End::Ok));
    scripts.push(Script(vec![message(2, SessionStatus::Complete)], End::Ok));
    let mut played = Played::new(scripts);
    assert_eq!(played.tokens().await, ["token-1", "token-2"]);

    let interruptions = played.interruptions();
    let delays: Vec<_> = interruptions.iter().map(|told| told.delay.as_secs_f64()).collect();
    let (after_message, in_a_row) = delays.split_last().unwrap();
    for (index, delay) in in_a_row.iter().enumerate() {
        let expected = (0.5 * f64::from(1 << index.min(20))).min(30.0);
        assert!((expected..=2.0 * expected).contains(delay), "{index}: {delay}");
    }
    assert!((0.5..=1.0).contains(after_message), "{after_message}");
    assert_eq!(interruptions.last().unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_asks_for_no_delay_is_not_hammered() {
    let gone = || ending(Code::Unavailable, "UPSTREAM_UNAVAILABLE", Some(Duration::ZERO));
    let scripts = (0..10).map(|_| Script(vec![], End::With(gone())));
    let mut played =
        Played::new(scripts.chain([Script(vec![message(1, SessionStatus::Complete)], End::Ok)]));
    let start = Instant::now();
    played.tokens().await;
    assert!(start.elapsed() > Duration::from_mins(1));
}

#[tokio::test(start_paused = true)]
async fn ends_that_another_try_would_not_change_end_the_watch_at_once() {
    let finals = [
        missing(),
        ending(Code::InvalidArgument, "RESUME_TOKEN_INVALID", None),
        ending(Code::Unauthenticated, "CREDENTIAL_REJECTED", None),
        ending(Code::PermissionDenied, "NO_REMOTE_SUPPORT_SEAT", None),
        ending(Code::Internal, "UPSTREAM_MALFORMED_RESPONSE", None),
        Status::unimplemented("no such method"),
    ];
    for status in finals {
        let code = status.code();
        let mut played = Played::new([Script(vec![], End::With(status))]);
        assert_eq!(played.watch.next().await.unwrap().unwrap_err().code, code);
        assert!(played.watch.next().await.is_none());
        assert_eq!(played.asked().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn ends_that_pass_are_resumed() {
    let passing = [
        ending(Code::Unavailable, "STREAM_ROTATED", None),
        ending(Code::ResourceExhausted, "SLOW_WATCHER", None),
        ending(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", None),
        Status::internal("h2 protocol error"),
        Status::unknown("transport error"),
        Status::cancelled("the connection was closed"),
    ];
    let scripts = passing.map(|status| Script(vec![], End::With(status)));
    let end = Script(vec![message(1, SessionStatus::Complete)], End::Ok);
    let mut played = Played::new(scripts.into_iter().chain([end]));
    assert_eq!(played.tokens().await, ["token-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_even_a_heartbeat_is_given_up() {
    let mut played = Played::new([
        Script(vec![message(1, SessionStatus::Waiting)], End::Never),
        Script(vec![message(2, SessionStatus::Complete)], End::Ok),
    ]);
    let start = Instant::now();
    assert_eq!(played.tokens().await, ["token-1", "token-2"]);
    assert_eq!(start.elapsed().as_secs(), 70, "twice the default heartbeat and ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_terminal_message_ends_the_watch_even_if_ok_is_lost() {
    let lost = End::With(Status::unavailable("connection reset"));
    for end in [End::Never, lost] {
        let mut played = Played::new([Script(vec![message(1, SessionStatus::Complete)], end)]);
        assert_eq!(played.tokens().await, ["token-1"]);
        assert!(played.interruptions().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn asking_in_small_pieces_loses_nothing() {
    let mut played = Played::new([
        Script(vec![message(1, SessionStatus::Waiting)], End::Ok),
        Script(vec![message(2, SessionStatus::Active)], End::Never),
        Script(vec![message(3, SessionStatus::Complete)], End::Ok),
    ]);
    let mut tokens = Vec::new();
    loop {
        let piece = Duration::from_millis(100);
        match tokio::time::timeout(piece, played.watch.next()).await {
            Ok(Some(message)) => tokens.push(message.unwrap().resume_token),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    assert_eq!(tokens, ["token-1", "token-2", "token-3"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_may_not_resume_ends_with_its_first_stream() {
    let played = Played::new([Script(vec![message(1, SessionStatus::Waiting)], End::Ok)]);
    let mut watch = played.watch.without_resuming();
    assert_eq!(next(&mut watch).await, "token-1");
    assert_eq!(watch.next().await.unwrap().unwrap_err().code, Code::Unavailable);
    assert!(watch.next().await.is_none());
    assert_eq!(watch.resume_token(), "token-1");
}

/// A watch with scripted streams and no sockets, so that it runs on paused time.
struct Played {
    watch: ResumingWatch,
    asked: Arc<Mutex<Vec<String>>>,
    interruptions: Arc<Mutex<Vec<Interruption>>>,
}

impl Played {
    fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        let mut scripts: VecDeque<_> = scripts.into_iter().collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let interruptions = Arc::new(Mutex::new(Vec::new()));
        let (asking, telling) = (asked.clone(), interruptions.clone());
        let watch = ResumingWatch::new(request::watch("250040353"), move |request| {
            asking.lock().unwrap().push(request.resume_token);
            let Script(messages, end) = scripts.pop_front().expect("no further watch");
            Box::pin(async move { Ok(play(messages, end)) })
        });
        let watch = watch.on_interruption(move |told| telling.lock().unwrap().push(told.clone()));
        Self { watch, asked, interruptions }
    }

    /// The tokens of all messages. The watch must end with OK.
    async fn tokens(&mut self) -> Vec<String> {
        let mut tokens = Vec::new();
        while let Some(message) = self.watch.next().await {
            tokens.push(message.unwrap().resume_token);
        }
        tokens
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn interruptions(&self) -> Vec<Interruption> {
        self.interruptions.lock().unwrap().clone()
    }
}
