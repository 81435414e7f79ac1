//! The client as a library: what it sends, what it makes of answers, how a watch resumes.

use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser;
use gotoassist_grpc::{
    client::{Client, Failure, Interruption, ResumingWatch},
    config::ConnectionConfig,
    proto::{SessionStatus, WatchSessionRequest},
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::fake_service::{End, FakeService, Script, ending, message, missing, play};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    connection: ConnectionConfig,
}

fn client(arguments: &[&str]) -> Client {
    let arguments = [&["client"], arguments].concat();
    Client::connect(&Arguments::try_parse_from(arguments).unwrap().connection).unwrap()
}

#[tokio::test]
async fn a_failure_carries_what_the_service_tells() {
    let service = FakeService::start([]);
    let client = client(&["--server", &service.url()]);
    let failure = client.get_session("missing", LIMIT).await.unwrap_err();
    assert_eq!(
        failure,
        Failure {
            code: Code::NotFound,
            message: "the session is unknown".to_owned(),
            reason: Some("SESSION_NOT_FOUND".to_owned()),
            retry_after: None,
            hints: vec![
                "resource: session 1".to_owned(),
                "sessions: https://developer.goto.com/".to_owned(),
            ],
        }
    );
    assert_eq!(failure.to_string(), "NOT_FOUND (SESSION_NOT_FOUND): the session is unknown");
}

#[tokio::test]
async fn the_deadline_is_told_as_such() {
    let service = FakeService::start([]);
    let client = client(&["--server", &service.url()]);
    for _ in 0..20 {
        let limit = Duration::from_millis(30);
        let failure = client.get_session("slow", limit).await.unwrap_err();
        assert_eq!(failure.code, Code::DeadlineExceeded, "{failure}");
    }
}

#[tokio::test]
async fn each_form_of_credential_goes_out_as_it_should() {
    let service = FakeService::start([]);
    let file = std::env::temp_dir().join(format!("gotoassist-token-{}", std::process::id()));
    fs::write(&file, "from-file\n").unwrap();
    let (url, path) = (service.url(), file.display().to_string());
    let from_file = client(&["--server", &url, "--token-file", &path]);
    for client in [
        client(&["--server", &url]),
        client(&["--server", &url, "--token", "abc"]),
        client(&["--server", &url, "--authorization", "OAuth oauth_token=abc"]),
        from_file.clone(),
    ] {
        client.get_session("known", LIMIT).await.unwrap();
    }
    fs::write(&file, "rotated").unwrap();
    from_file.list_system_links("example.com", LIMIT).await.unwrap();
    fs::remove_file(&file).unwrap();
    let failure = from_file.list_system_links("example.com", LIMIT).await.unwrap_err();
    assert_eq!(failure.code, Code::Unauthenticated);
    assert_eq!(
        service.authorizations(),
        ["", "Bearer abc", "OAuth oauth_token=abc", "Bearer from-file", "Bearer rotated"]
    );
}

#[tokio::test]
async fn a_credential_is_in_no_debug_output() {
    let arguments = ["client", "--token", "s3cret-s3cret"];
    let connection = Arguments::try_parse_from(arguments).unwrap().connection;
    let client = Client::connect(&connection).unwrap();
    assert!(!format!("{connection:?} {client:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_call_goes_to_the_next_address_when_one_is_down() {
    let service = FakeService::start([]);
    let down = unused_address();
    let client = client(&["--server", &format!("{down},{}", service.url())]);
    client.get_session("known", LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_down_is_named_as_the_cause() {
    let down = unused_address();
    let failure = client(&["--server", &down]).get_session("known", LIMIT).await.unwrap_err();
    assert_eq!(failure.code, Code::Unavailable);
    assert!(failure.message.starts_with("no connection to the service: "), "{failure}");
    assert!(failure.message.contains("refused"), "{failure}");
}

#[tokio::test]
async fn a_watch_survives_the_death_of_its_server_and_goes_on_elsewhere() {
    let first = FakeService::start([Script(
        vec![message(1, SessionStatus::Waiting), message(2, SessionStatus::Active)],
        End::Never,
    )]);
    let second = FakeService::start([Script(vec![message(3, SessionStatus::Complete)], End::Ok)]);
    let servers = format!("{},{}", first.url(), second.url());
    let mut watch = client(&["--server", &servers, "--token", "abc"]).watch(request());

    assert_eq!(next(&mut watch).await, "token-1");
    assert_eq!(next(&mut watch).await, "token-2");
    drop(first);
    assert_eq!(next(&mut watch).await, "token-3");
    assert!(watch.next().await.is_none());
    assert_eq!(
        second.watches(),
        [WatchSessionRequest { resume_token: "token-2".to_owned(), ..request() }]
    );
    assert_eq!(second.authorizations(), ["Bearer abc"]);
}

#[tokio::test]
async fn a_watch_survives_a_restart_at_the_same_address() {
    let first = FakeService::start([Script(vec![message(1, SessionStatus::Waiting)], End::Never)]);
    let address = first.address.to_string();
    let mut watch = client(&["--server", &first.url()]).watch(request());
    assert_eq!(next(&mut watch).await, "token-1");
    let second = tokio::task::spawn_blocking(move || {
        first.stop();
        let end = Script(vec![message(2, SessionStatus::Complete)], End::Ok);
        FakeService::start_at(&address, [end])
    })
    .await
    .unwrap();
    assert_eq!(next(&mut watch).await, "token-2");
    assert!(watch.next().await.is_none());
    assert_eq!(second.watches().first().unwrap().resume_token, "token-1");
}

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

/// An address where nobody listens.
fn unused_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn request() -> WatchSessionRequest {
    WatchSessionRequest { session_id: "250040353".to_owned(), ..WatchSessionRequest::default() }
}

async fn next(watch: &mut ResumingWatch) -> String {
    let next = tokio::time::timeout(LIMIT, watch.next()).await.unwrap();
    next.unwrap().unwrap().resume_token
}

/// A watch whose streams are scripts, without sockets, so that it runs on paused time.
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
        let watch = ResumingWatch::new(request(), move |request| {
            asking.lock().unwrap().push(request.resume_token);
            let Script(messages, end) = scripts.pop_front().expect("no further watch");
            Box::pin(async move { Ok(play(messages, end)) })
        });
        let watch = watch.on_interruption(move |told| telling.lock().unwrap().push(told.clone()));
        Self { watch, asked, interruptions }
    }

    /// The tokens of all messages; the watch must end well.
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
