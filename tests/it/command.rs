//! The real binary on the command line and in scripts.

mod drain;
mod follow_up;
mod input;
mod login;
mod watch_many;
mod words;

use std::time::Duration;

use gotoassist_grpc::proto::SessionStatus;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Child,
};
use tonic::Code;

use crate::kit::{
    fake_service::{End, FakeService, Script, ending, message},
    process::{self, Serve, binary, exit_code, signal},
    soon,
};

async fn run(arguments: &[&str]) -> (i32, String, String) {
    process::run(binary(arguments)).await
}

#[tokio::test]
async fn get_prints_one_line_with_the_vendors_names() {
    let service = FakeService::start([]);
    let (status, stdout, stderr) = run(&["get", "known", "--server", &service.url()]).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(
        stdout,
        "{\"session\":{\"sessionId\":\"250040353\",\"status\":\"SESSION_STATUS_ACTIVE\",\
         \"accountKey\":\"99999822536216596540\",\"startedAt\":\"2021-04-30T06:00:00.250Z\"},\
         \"observedAt\":\"2021-04-30T06:00:00Z\"}\n"
    );
}

#[tokio::test]
async fn sessions_prints_one_session_a_line_and_follows_the_pages() {
    let service = FakeService::start([]);
    let url = service.url();
    let list = async |more: &[&str]| run(&[&["sessions", "--server", &url], more].concat()).await;
    let (status, stdout, stderr) = list(&["--page-size=3"]).await;
    assert_eq!((status, stderr.as_str(), stdout.lines().count()), (0, "", 7));
    for (number, line) in stdout.lines().enumerate() {
        let session = format!("{{\"sessionId\":\"{number}\",\"status\":\"SESSION_STATUS_ACTIVE\",");
        assert!(line.starts_with(&session), "{line}");
    }
    let asked: Vec<_> = service.lists();
    let pages: Vec<_> = asked.iter().map(|page| (page.page_size, &*page.page_token)).collect();
    assert_eq!(pages, [(3, ""), (3, "3"), (3, "6")]);

    let (status, stdout, stderr) = list(&["--limit=5", "--page-size=4"]).await;
    assert_eq!((status, stdout.lines().count()), (0, 5));
    assert!(stderr.contains("--limit"), "{stderr}");
    assert_eq!(list(&["--limit=7"]).await.2, "");

    let words = [
        "--from=2016-10-31T08:30:00.5Z",
        "--to=1h",
        "--status=waiting,not-started",
        "--status=other",
    ];
    assert_eq!(list(&words).await.0, 0);
    let asked = service.lists().pop().unwrap();
    let from = prost_types::Timestamp { seconds: 1_477_902_600, nanos: 500_000_000 };
    assert_eq!(asked.from_time, Some(from));
    let age = jiff::Timestamp::now().as_second() - asked.to_time.unwrap().seconds;
    assert!((3_600..3_660).contains(&age), "{age}");
    assert_eq!(asked.statuses, [2, 1, 0]);

    let (status, stdout, stderr) = list(&["--output=text", "--page-size=3"]).await;
    assert_eq!((status, stderr.as_str(), stdout.lines().count()), (0, "", 8));
    assert!(stdout.starts_with("STARTED ") && !stdout.contains('\u{1b}'), "{stdout}");
    assert!(stdout.lines().skip(1).all(|line| line.contains("active")), "{stdout}");
}

#[tokio::test]
async fn links_prints_the_callback_under_the_vendors_name() {
    let service = FakeService::start([]);
    let (status, stdout, _) = run(&["links", "example.com", "--server", &service.url()]).await;
    assert_eq!(status, 0);
    assert_eq!(
        stdout,
        "{\"systemLinks\":[{\"systemDomain\":\"example.com\",\
         \"callbackURL\":\"https://partner.example/tickets\"}]}\n"
    );
}

#[tokio::test]
async fn answers_can_be_printed_for_people() {
    let service = FakeService::start([]);
    let url = service.url();
    let text =
        async |words: &[&str]| run(&[words, &["--output=text", "--server", &url]].concat()).await;
    let (status, stdout, stderr) = text(&["get", "known"]).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(
        stdout,
        "sessionId   250040353\n\
         status      active\n\
         accountKey  99999822536216596540\n\
         startedAt   2021-04-30T06:00:00.25Z\n\
         observedAt  2021-04-30T06:00:00Z\n"
    );
    let (status, stdout, _) = text(&["links", "example.com"]).await;
    assert_eq!(status, 0);
    assert_eq!(
        stdout,
        "systemDomain  example.com\ncallbackURL   https://partner.example/tickets\n"
    );
}

#[tokio::test]
async fn completions_and_manual_pages_are_printed() {
    for (shell, line) in [
        ("bash", "complete -F _gotoassist"),
        ("zsh", "#compdef gotoassist-grpc"),
        ("fish", "complete -c gotoassist-grpc"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let (status, stdout, stderr) = run(&["completions", shell]).await;
        assert_eq!((status, stderr.as_str()), (0, ""), "{shell}");
        assert!(stdout.contains(line) && stdout.contains("upstream-rps"), "{shell}: {stdout}");
    }
    for (page, line) in
        [(&["man"][..], "gotoassist\\-grpc\\-serve"), (&["man", "serve"], "upstream\\-rps")]
    {
        let (status, stdout, stderr) = run(page).await;
        assert_eq!((status, stderr.as_str()), (0, ""));
        assert!(stdout.contains(".TH gotoassist") && stdout.contains(line), "{stdout}");
    }
    let (status, stdout, stderr) = run(&["man", "nothing"]).await;
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert_eq!(stderr, "error: there is no command `nothing`\n");
}

#[tokio::test]
async fn a_failed_call_tells_code_reason_and_hints_and_exits_as_grpcurl_does() {
    let service = FakeService::start([]);
    let (status, stdout, stderr) = run(&["get", "missing", "--server", &service.url()]).await;
    assert_eq!((status, stdout.as_str()), (69, ""));
    assert_eq!(
        stderr,
        "error: NOT_FOUND (SESSION_NOT_FOUND): the session is unknown\n\
         \x20 hint: resource: session 1\n\
         \x20 hint: sessions: https://developer.goto.com/\n"
    );
}

#[tokio::test]
async fn a_wrong_command_line_is_one_clear_line() {
    for (arguments, told) in [
        (vec!["get"], "<SESSION>"),
        (vec!["get", "x", "--timeout", "soon"], "--timeout"),
        (vec!["get", "x", "--server", "ftp://a"], "it must begin with http://, https:// or unix:"),
        (vec!["get", "x", "--token", "a", "--token-file", "b"], "cannot be used with"),
        (vec!["get", "x", "--token-file", "no-such-file"], "cannot read no-such-file"),
        (vec!["get", "x", "--token", " "], "credential"),
        (vec!["get", "x", "--ca-file", "ca.pem"], "https"),
        (vec!["watch", "x", "--servr", "y"], "--server"),
        (vec!["sessions", "--from", "yesterday"], "or how long ago"),
        (vec!["sessions", "--status", "started"], "not-started"),
        (vec!["sessions", "--page-size", "0"], "--page-size"),
        (vec!["sessions", "--output", "xml"], "json"),
    ] {
        let (status, stdout, stderr) = run(&arguments).await;
        assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(told), "{stderr}");
    }
}

#[tokio::test]
async fn help_documents_the_exit_status() {
    for command in ["get", "sessions", "links", "watch", "health"] {
        let (status, stdout, stderr) = run(&[command, "--help"]).await;
        assert_eq!((status, stderr.as_str()), (0, ""));
        assert!(stdout.contains("Exit status"), "{stdout}");
        assert!(stdout.contains("GOTOASSIST_SERVER"), "{stdout}");
    }
}

#[tokio::test]
async fn the_environment_sets_what_flags_can() {
    let service = FakeService::start([]);
    let output = binary(&["get", "known"])
        .env("GOTOASSIST_SERVER", service.url())
        .env("GOTOASSIST_TOKEN", "from-environment")
        .output();
    assert!(soon(output).await.unwrap().status.success());
    assert_eq!(service.authorizations(), ["Bearer from-environment"]);
}

#[tokio::test]
async fn health_exits_by_the_answer() {
    let service = FakeService::start([]);
    let url = service.url();
    let (status, stdout, _) = run(&["health", "--server", &url]).await;
    assert_eq!((status, stdout.as_str()), (0, "{\"status\":\"SERVING\"}\n"));
    let (status, stdout, _) = run(&["health", "--server", &url, "--service", "gone"]).await;
    assert_eq!((status, stdout.as_str()), (1, "{\"status\":\"NOT_SERVING\"}\n"));
    let (status, _, stderr) = run(&["health", "--server", &url, "--service", "unknown"]).await;
    assert_eq!(status, 1);
    assert!(stderr.starts_with("error: NOT_FOUND"), "{stderr}");
    drop(service);
    let (status, _, stderr) = run(&["health", "--server", &url]).await;
    assert_eq!(status, 1);
    assert!(stderr.starts_with("error: UNAVAILABLE"), "{stderr}");
}

#[tokio::test]
async fn watch_resumes_and_says_so() {
    let rotated = ending(Code::Unavailable, "STREAM_ROTATED", Some(Duration::from_millis(20)));
    let service = FakeService::start([
        Script(vec![message(1, SessionStatus::Waiting)], End::With(rotated)),
        Script(vec![message(2, SessionStatus::Complete)], End::Ok),
    ]);
    let (status, stdout, stderr) = run(&["watch", "known", "--server", &service.url()]).await;
    assert_eq!(status, 0, "{stderr}");
    let tokens: Vec<_> = stdout.lines().map(|line| json(line)["resumeToken"].clone()).collect();
    assert_eq!(tokens, ["token-1", "token-2"]);
    assert_eq!(json(stdout.lines().last().unwrap())["terminal"], true);
    assert_eq!(
        stderr,
        "interrupted: UNAVAILABLE (STREAM_ROTATED): the stream ends; resuming in 20ms\n"
    );
}

#[tokio::test]
async fn a_watch_that_fails_exits_by_the_code_and_tells_how_to_go_on() {
    let refused = ending(Code::Unauthenticated, "CREDENTIAL_REJECTED", None);
    let service =
        FakeService::start([Script(vec![message(1, SessionStatus::Waiting)], End::With(refused))]);
    let (status, _, stderr) = run(&["watch", "known", "--server", &service.url()]).await;
    assert_eq!(status, 80);
    assert!(stderr.contains("to go on: --resume-token token-1"), "{stderr}");
}

#[tokio::test]
async fn the_flags_of_watch_reach_the_service() {
    let service = FakeService::start([Script(vec![message(1, SessionStatus::Complete)], End::Ok)]);
    let url = service.url();
    let flags = ["--resume-token", "t", "--heartbeat", "5s", "--follow-after-end", "1h"];
    let (status, ..) = run(&[&["watch", "known", "--server", &url], &flags[..]].concat()).await;
    assert_eq!(status, 0);
    let watches = service.watches();
    let request = watches.first().unwrap();
    assert_eq!(request.resume_token, "t");
    assert_eq!(request.heartbeat_interval.unwrap().seconds, 5);
    assert_eq!(request.follow_after_end.unwrap().seconds, 3600);
}

#[tokio::test]
async fn a_watch_whose_time_is_over_exits_so() {
    let service =
        FakeService::start([Script(vec![message(1, SessionStatus::Waiting)], End::Never)]);
    let url = service.url();
    let (status, stdout, stderr) =
        run(&["watch", "known", "--server", &url, "--timeout", "2s"]).await;
    assert_eq!((status, stdout.lines().count()), (68, 1));
    assert!(stderr.contains("to go on: --resume-token token-1"), "{stderr}");
}

#[tokio::test]
async fn ctrl_c_leaves_the_resume_token_behind() {
    let service =
        FakeService::start([Script(vec![message(1, SessionStatus::Waiting)], End::Never)]);
    let mut child = binary(&["watch", "known", "--server", &service.url()]).spawn().unwrap();
    first_line(&mut child).await;
    signal(&child, "-INT").await;
    assert_eq!(exit_code(&mut child).await, Some(130));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
    assert_eq!(stderr, "to go on: --resume-token token-1\n");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_a_watch_quietly() {
    let many = (1..10_000).map(|number| message(number, SessionStatus::Active)).collect();
    let service = FakeService::start([Script(many, End::Never)]);
    let mut child = binary(&["watch", "known", "--server", &service.url()]).spawn().unwrap();
    first_line(&mut child).await;
    assert_eq!(exit_code(&mut child).await, Some(141));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
    assert!(!stderr.contains("error"), "{stderr}");
}

#[tokio::test]
async fn the_demo_walks_a_session_from_not_started_to_complete_and_shows_a_desk() {
    let (status, stdout, stderr) = run(&["demo", "--once"]).await;
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "no colour in a pipe");
    let mut rest = stdout.as_str();
    for told in [
        "status page",
        "http://127.0.0.1:",
        "GetSession",
        "ListSystemLinks",
        "SNAPSHOT   notStarted",
        "notStarted → waiting",
        "waiting → active      by callback, after ",
        "active → complete     by callback, after ",
        "notes",
        "recording",
        "OK",
        "WatchSessions",
        "SS-DESK-1  waiting → active",
        "SS-DESK-1  active → complete",
    ] {
        let (_, after) = rest.split_once(told).unwrap_or_else(|| panic!("{told}: {stdout}"));
        rest = after;
    }
}

#[tokio::test]
async fn simulate_and_serve_go_together() {
    let (mut simulate, url) = started(&["simulate", "--listen", "127.0.0.1:0"], "REST API").await;
    let serve = Serve::start(&["--upstream-url", &url]).await;
    let server = serve.url();

    let (status, stdout, stderr) =
        run(&["get", "250040353", "--server", &server, "--token", "any"]).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(json(&stdout)["session"]["sessionId"], "250040353");
    let (status, stdout, _) =
        run(&["links", "one.example.com", "--server", &server, "--token", "any"]).await;
    assert_eq!(
        (status, json(&stdout)["systemLinks"][0]["systemName"].as_str()),
        (0, Some("Helpdesk"))
    );
    let (status, stdout, _) =
        run(&["watch", "250040304", "--server", &server, "--token", "any"]).await;
    assert_eq!((status, json(&stdout)["terminal"].as_bool()), (0, Some(true)));
    let (status, _, stderr) = run(&["get", "1", "--server", &server]).await;
    assert_eq!(status, 80);
    assert!(stderr.starts_with("error: UNAUTHENTICATED (CREDENTIAL_MISSING)"), "{stderr}");

    serve.stop().await;
    signal(&simulate, "-TERM").await;
    assert_eq!(exit_code(&mut simulate).await, Some(0));
}

#[tokio::test]
async fn what_serve_cannot_do_is_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (expected, arguments) in [
        (2, vec!["--listen", "nowhere"]),
        (2, vec!["--client-tokens-file", "no-such-file"]),
        (1, vec!["--listen", &taken, "--admin-listen", "127.0.0.1:0"]),
    ] {
        let (status, _, stderr) = run(&[&["serve"], &arguments[..]].concat()).await;
        assert_eq!(status, expected, "{stderr}");
        let told: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(told.len(), 1, "{stderr}");
    }
}

/// Starts a command that keeps running. Returns the address that it prints on the line with `name`.
async fn started(arguments: &[&str], name: &str) -> (Child, String) {
    let mut child = binary(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the line with the address");
            if let Some((_, address)) = line.split_once(name) {
                break address.trim().to_owned();
            }
        }
    };
    let address = soon(found).await;
    // Keeps stdout open until the child ends, because it may print more.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

/// Reads one line of stdout, and closes stdout.
async fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    soon(stdout.read_line(&mut line)).await.unwrap();
    line
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}
