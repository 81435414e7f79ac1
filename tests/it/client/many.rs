//! The client's watch of many sessions, on paused time, with scripted streams.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use gotoassist_grpc::{
    client::{Failure, ResumingWatches, WatchMany},
    proto::{
        AllSessions, WatchSessionRequest, WatchSessionResponse, WatchSessionsRequest,
        WatchSessionsResponse,
        watch_session_response::EventType,
        watch_sessions_request::{Action, Add},
        watch_sessions_response::{Body, StreamHeartbeat},
    },
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::kit::{fake_service::ending, request};

/// The messages of a stream, and how it ends. Without a status it stays open.
type Script = (Vec<WatchSessionsResponse>, Option<Status>);

/// What the client has sent on each stream.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Vec<Add>>>>);

impl Asked {
    /// The sessions that were added on a stream, each with its token, in the order of their ids.
    fn sessions(&self, stream: usize) -> Vec<(String, String)> {
        let adds = &self.0.lock().unwrap()[stream];
        let sessions = adds.iter().flat_map(|add| &add.sessions);
        let mut sessions: Vec<_> = sessions
            .map(|session| (session.session_id.clone(), session.resume_token.clone()))
            .collect();
        sessions.sort();
        sessions
    }

    /// From when on all sessions were asked for, with the last message.
    fn all_since(&self, stream: usize) -> Option<i64> {
        let adds = &self.0.lock().unwrap()[stream];
        let (last, others) = adds.split_last().unwrap();
        assert!(others.iter().all(|add| add.all.is_none()));
        last.all.map(|all| all.from_time.unwrap().seconds)
    }
}

fn watch(watch: WatchMany, scripts: impl IntoIterator<Item = Script>) -> (ResumingWatches, Asked) {
    let mut scripts: VecDeque<_> = scripts.into_iter().collect();
    let asked = Asked::default();
    let noted = asked.clone();
    let watches = ResumingWatches::new(watch, move |mut requests| {
        let (messages, end) = scripts.pop_front().expect("no further stream is expected");
        let stream = {
            let mut streams = noted.0.lock().unwrap();
            streams.push(Vec::new());
            streams.len() - 1
        };
        let noted = noted.clone();
        tokio::spawn(async move {
            while let Some(WatchSessionsRequest { action: Some(Action::Add(add)) }) =
                requests.recv().await
            {
                noted.0.lock().unwrap()[stream].push(add);
            }
        });
        let messages = stream::iter(messages.into_iter().map(Ok));
        let end = end.map(Err);
        let rest =
            if end.is_some() { stream::iter(end).boxed() } else { stream::pending().boxed() };
        Box::pin(async move { Ok(messages.chain(rest).boxed()) })
    });
    (watches, asked)
}

fn sessions(ids: &[&str]) -> WatchMany {
    let sessions = ids.iter().map(|id| request::watch(id)).collect();
    WatchMany { sessions, ..WatchMany::default() }
}

fn all_since(seconds: i64) -> WatchMany {
    let from_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
    WatchMany { all: Some(AllSessions { from_time }), ..WatchMany::default() }
}

fn update(id: &str, kind: EventType, token: &str, terminal: bool) -> WatchSessionsResponse {
    let update = WatchSessionResponse {
        event_type: kind.into(),
        resume_token: token.to_owned(),
        observed_at: Some(prost_types::Timestamp { seconds: 10_000, nanos: 0 }),
        terminal,
        ..WatchSessionResponse::default()
    };
    WatchSessionsResponse { session_id: id.to_owned(), body: Some(Body::Update(update)) }
}

fn ended(id: &str, status: Option<&Status>) -> WatchSessionsResponse {
    let decode = |status: &Status| prost::Message::decode(status.details()).unwrap();
    let status = status.map_or_else(tonic_types::Status::default, decode);
    WatchSessionsResponse { session_id: id.to_owned(), body: Some(Body::Ended(status)) }
}

fn heartbeat() -> WatchSessionsResponse {
    let heartbeat = StreamHeartbeat {
        session_count: 1,
        oldest_observed_at: Some(prost_types::Timestamp { seconds: 10_000, nanos: 0 }),
    };
    WatchSessionsResponse { body: Some(Body::Heartbeat(heartbeat)), ..Default::default() }
}

fn rotated() -> Status {
    ending(Code::Unavailable, "STREAM_ROTATED", Some(Duration::from_millis(100)))
}

/// The sessions of all messages until the watch ends, and the failure if it failed.
async fn rest(watches: &mut ResumingWatches) -> (Vec<String>, Option<Failure>) {
    let mut told = Vec::new();
    while let Some(next) = watches.next().await {
        match next {
            Ok(message) => told.push(message.session_id),
            Err(failure) => return (told, Some(failure)),
        }
    }
    (told, None)
}

#[tokio::test(start_paused = true)]
async fn the_next_stream_goes_on_with_each_session_that_has_not_ended() {
    let gone = ending(Code::NotFound, "SESSION_NOT_FOUND", None);
    let first = vec![
        update("a", EventType::Snapshot, "a1", false),
        update("b", EventType::Snapshot, "b1", true),
        ended("b", None),
        ended("c", Some(&gone)),
        update("a", EventType::Changed, "a2", false),
    ];
    let second = vec![update("a", EventType::Changed, "a3", true), ended("a", None)];
    let (mut watches, asked) =
        watch(sessions(&["a", "b", "c"]), [(first, Some(rotated())), (second, None)]);
    let start = Instant::now();
    let (told, failure) = rest(&mut watches).await;
    assert_eq!((told.join(" ").as_str(), failure), ("a b b c a a a", None));
    // 100 ms until the second stream, and 2 s for the OK that does not come.
    assert_eq!(start.elapsed().as_millis() / 10, 210);
    assert_eq!(asked.sessions(1), [("a".to_owned(), "a2".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn with_all_the_next_stream_is_told_what_has_ended_lately() {
    let first = vec![
        update("a", EventType::Snapshot, "a1", false),
        update("b", EventType::Snapshot, "b1", true),
        ended("b", None),
        heartbeat(),
    ];
    let second = vec![
        // Both are told again, because the token says that nothing is new.
        update("b", EventType::Heartbeat, "b2", true),
        ended("b", None),
        update("a", EventType::Heartbeat, "a2", false),
        update("c", EventType::Snapshot, "c1", false),
        ended("", Some(&ending(Code::Unavailable, "UPSTREAM_UNAVAILABLE", None))),
    ];
    let third = vec![ended("", Some(&ending(Code::Unimplemented, "SESSION_LIST_OFF", None)))];
    let lost = Status::unavailable("the connection broke");
    let (mut watches, asked) =
        watch(all_since(9_000), [(first, Some(rotated())), (second, Some(lost)), (third, None)]);
    let (told, failure) = rest(&mut watches).await;
    // Until the scripted service has read everything.
    tokio::task::yield_now().await;
    assert_eq!(told, ["a", "b", "b", "", "a", "c"]);
    assert_eq!(failure.unwrap().reason.as_deref(), Some("SESSION_LIST_OFF"));
    assert_eq!(asked.all_since(0), Some(9_000));
    let token = |id: &str, token: &str| (id.to_owned(), token.to_owned());
    assert_eq!(asked.sessions(1), [token("a", "a1"), token("b", "b1")]);
    assert_eq!(asked.all_since(1), Some(9_000), "half an hour before is earlier");
    assert_eq!(asked.sessions(2), [token("a", "a2"), token("b", "b2"), token("c", "c1")]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_may_come_back_is_added_again_on_the_same_stream() {
    let outage = ending(Code::Unavailable, "UPSTREAM_UNAVAILABLE", Some(Duration::from_secs(3)));
    let script = vec![update("a", EventType::Snapshot, "a1", false), ended("a", Some(&outage))];
    let (watches, asked) = watch(sessions(&["a"]), [(script, None)]);
    let interruptions = Arc::new(Mutex::new(Vec::new()));
    let noted = interruptions.clone();
    let mut watches = watches.on_interruption(move |interruption| {
        noted.lock().unwrap().push(interruption.delay);
    });
    watches.next().await.unwrap().unwrap();
    let more = tokio::time::timeout(Duration::from_secs(5), watches.next()).await;
    assert!(more.is_err(), "its end is not told: {more:?}");
    assert_eq!(*interruptions.lock().unwrap(), [Duration::from_secs(3)]);
    let token = |token: &str| ("a".to_owned(), token.to_owned());
    assert_eq!(asked.sessions(0), [token(""), token("a1")]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up_for_all_sessions() {
    let first = vec![update("a", EventType::Snapshot, "a1", false)];
    let second = vec![update("a", EventType::Heartbeat, "a2", true), ended("a", None)];
    let (mut watches, asked) = watch(sessions(&["a"]), [(first, None), (second, None)]);
    let start = Instant::now();
    let (told, failure) = rest(&mut watches).await;
    assert_eq!((told.join(" ").as_str(), failure), ("a a a", None));
    assert!(start.elapsed() >= Duration::from_secs(70), "twice the heartbeat interval, and 10 s");
    assert_eq!(asked.sessions(1), [("a".to_owned(), "a1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_sessions_are_added_with_several_messages() {
    let sessions = (0..2_500).map(|number| WatchSessionRequest {
        session_id: number.to_string(),
        ..WatchSessionRequest::default()
    });
    let many = WatchMany { sessions: sessions.collect(), ..all_since(0) };
    let (mut watches, asked) = watch(many, [(vec![heartbeat()], None)]);
    watches.next().await.unwrap().unwrap();
    tokio::task::yield_now().await;
    let counts: Vec<_> = asked.0.lock().unwrap()[0].iter().map(|add| add.sessions.len()).collect();
    assert_eq!(counts, [1_000, 1_000, 500]);
    assert_eq!(asked.all_since(0), Some(0));
}
