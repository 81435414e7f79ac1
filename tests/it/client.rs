//! The client library: its requests, how it reads answers, and how a watch resumes.

mod many;
mod resuming;
mod tls;

use std::{fs, time::Duration};

use clap::Parser;
use gotoassist_grpc::{
    client::{Client, Failure, ResumingWatch},
    config::ConnectionConfig,
    proto::{SessionStatus, WatchSessionRequest},
};
use tonic::Code;

use crate::kit::{
    LIMIT,
    fake_service::{End, FakeService, Script, message},
    folder::Folder,
    request, soon, unused_url,
};

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
    let folder = Folder::new();
    let (url, path) = (service.url(), folder.write("token", "from-file\n"));
    let from_file = client(&["--server", &url, "--token-file", &path]);
    for client in [
        client(&["--server", &url]),
        client(&["--server", &url, "--token", "abc"]),
        client(&["--server", &url, "--authorization", "OAuth oauth_token=abc"]),
        from_file.clone(),
    ] {
        client.get_session("known", LIMIT).await.unwrap();
    }
    folder.write("token", "rotated");
    from_file.list_system_links("example.com", LIMIT).await.unwrap();
    fs::remove_file(&path).unwrap();
    let failure = from_file.list_system_links("example.com", LIMIT).await.unwrap_err();
    assert_eq!(failure.code, Code::Unauthenticated);
    assert_eq!(
        service.authorizations(),
        ["", "Bearer abc", "OAuth oauth_token=abc", "Bearer from-file", "Bearer rotated"]
    );
}

#[tokio::test]
async fn a_proxy_can_tell_the_session_by_metadata() {
    let service = FakeService::start([Script(vec![message(1, SessionStatus::Complete)], End::Ok)]);
    let client = client(&["--server", &service.url()]);
    assert_eq!(next(&mut client.watch(request::watch("250040353"))).await, "token-1");
    for session in ["SS-87555", "a/b?c%2F d", "Grüße\n"] {
        client.get_session(session, LIMIT).await.unwrap();
    }
    client.list_system_links("example.com", LIMIT).await.unwrap();
    let expected = ["250040353", "SS-87555", "a/b?c%252F%20d", "Gr%C3%BC%C3%9Fe%0A", ""];
    assert_eq!(service.session_names(), expected);
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
    let down = unused_url();
    let client = client(&["--server", &format!("{down},{}", service.url())]);
    client.get_session("known", LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_down_is_named_as_the_cause() {
    let down = unused_url();
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
    let mut watch =
        client(&["--server", &servers, "--token", "abc"]).watch(request::watch("250040353"));

    assert_eq!(next(&mut watch).await, "token-1");
    assert_eq!(next(&mut watch).await, "token-2");
    drop(first);
    assert_eq!(next(&mut watch).await, "token-3");
    assert!(watch.next().await.is_none());
    assert_eq!(
        second.watches(),
        [WatchSessionRequest { resume_token: "token-2".to_owned(), ..request::watch("250040353") }]
    );
    assert_eq!(second.authorizations(), ["Bearer abc"]);
}

#[tokio::test]
async fn a_watch_survives_a_restart_at_the_same_address() {
    let first = FakeService::start([Script(vec![message(1, SessionStatus::Waiting)], End::Never)]);
    let address = first.address.to_string();
    let mut watch = client(&["--server", &first.url()]).watch(request::watch("250040353"));
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

async fn next(watch: &mut ResumingWatch) -> String {
    let next = soon(watch.next()).await;
    next.unwrap().unwrap().resume_token
}
