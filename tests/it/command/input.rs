//! Unusual input from people and templates.

use gotoassist_grpc::{config, proto::SessionStatus};

use super::run;
use crate::kit::{
    fake_service::{End, FakeService, Script, message},
    folder::Folder,
    process::{self, Serve, binary, exit_code, signal},
    soon,
};

/// A byte order mark, which some editors put at the beginning of a file.
const MARK: &str = "\u{feff}";

#[tokio::test]
async fn an_id_may_be_a_negative_number() {
    let service = FakeService::start([Script(vec![message(1, SessionStatus::Complete)], End::Ok)]);
    let url = service.url();
    let (status, _, stderr) = run(&["get", "-2022844082891", "--server", &url]).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    let (status, _, stderr) = run(&["watch", "-2022844082891", "--server", &url]).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(service.session_names(), ["-2022844082891"; 2]);
    assert_eq!(service.watches()[0].session_id, "-2022844082891");
}

#[tokio::test]
async fn a_token_that_begins_with_a_dash_is_hinted_at_once() {
    let (status, _, stderr) = run(&["get", "-session-token"]).await;
    assert_eq!((status, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stderr.contains("to pass '-s' as a value, use '-- -s"), "{stderr}");
    let service = FakeService::start([]);
    let (status, ..) = run(&["get", "--server", &service.url(), "--", "-session-token"]).await;
    assert_eq!(status, 0);
}

#[tokio::test]
async fn what_an_editor_puts_around_a_token_is_left_out() {
    let service = FakeService::start([Script(vec![message(1, SessionStatus::Complete)], End::Ok)]);
    let (url, folder) = (service.url(), Folder::new());
    let path = folder.write("token", format!("{MARK}secret\r\n"));
    let (marked, resume) = (format!("{MARK}secret \n"), format!("{MARK}resume\r\n"));
    let words = ["get", "known", "--server", &url];
    for flags in [["--token-file", &path], ["--token", &marked]] {
        let (status, _, stderr) = run(&[&words[..], &flags].concat()).await;
        assert_eq!((status, stderr.as_str()), (0, ""), "{flags:?}");
    }
    assert_eq!(service.authorizations(), ["Bearer secret"; 2]);
    let (status, ..) = run(&["watch", "known", "--server", &url, "--resume-token", &resume]).await;
    assert_eq!(status, 0);
    assert_eq!(service.watches()[0].resume_token, "resume");
}

#[tokio::test]
async fn an_environment_variable_that_is_empty_is_not_set() {
    let cli = config::command();
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let names: Vec<_> = arguments.filter_map(|argument| argument.get_env()).collect();
    assert!(names.len() > 80, "{names:?}");
    let service = FakeService::start([Script(vec![message(1, SessionStatus::Complete)], End::Ok)]);
    let url = service.url();
    let server = ["--server", &*url];
    for (words, more) in [
        (["serve", "--check"], &[][..]),
        (["get", "known"], &server),
        (["watch", "known"], &server),
        (["links", "example.com"], &server),
        (["health", "--timeout=9s"], &server),
        (["demo", "--once"], &[]),
    ] {
        let mut command = binary(&[&words[..], more].concat());
        command.envs(names.iter().map(|name| (name, "")));
        let output = soon(command.output()).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    }
    let set = binary(&["serve", "--check"]).env("GOTOASSIST_MAX_CALLS", "7").output().await;
    let set = String::from_utf8(set.unwrap().stdout).unwrap();
    assert!(set.lines().any(|line| line.starts_with("--max-calls 7 ")), "{set}");
}

#[tokio::test]
async fn the_variables_of_serve_do_not_move_other_commands() {
    for (command, variable) in
        [("simulate", "GOTOASSIST_SIMULATE_LISTEN"), ("demo", "GOTOASSIST_DEMO_LISTEN")]
    {
        let mut command = binary(&[command]);
        command.env("GOTOASSIST_LISTEN", "wrong").env(variable, "right");
        let (status, _, stderr) = process::run(command).await;
        assert_eq!(status, 2, "{stderr}");
        assert!(stderr.contains("'right'") && !stderr.contains("wrong"), "{stderr}");
    }
}

#[tokio::test]
async fn every_client_command_speaks_over_a_unix_socket() {
    let folder = Folder::new();
    let socket = format!("unix:{}", folder.path("grpc.sock").display());
    let (mut vendor, url) =
        super::started(&["simulate", "--listen", "127.0.0.1:0"], "REST API").await;
    let serve = Serve::start(&["--listen", &socket, "--upstream-url", &url]).await;
    let (_, path) = socket.split_once(':').unwrap();
    for server in [&socket, &format!("unix://{path}")] {
        let rest = ["--server", server, "--token", "any"];
        for words in [["get", "250040353"], ["links", "one.example.com"], ["watch", "250040304"]] {
            let (status, _, stderr) = run(&[&words[..], &rest].concat()).await;
            assert_eq!((status, stderr.as_str()), (0, ""), "{words:?} {server}");
        }
    }
    let (status, _, stderr) = run(&["get", "x", "--server", "unix:"]).await;
    assert_eq!(status, 2, "{stderr}");
    serve.stop().await;
    signal(&vendor, "-TERM").await;
    assert_eq!(exit_code(&mut vendor).await, Some(0));
}
