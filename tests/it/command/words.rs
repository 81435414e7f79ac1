//! What the commands say to people: the help, and why something fails.

use std::time::Duration;

use gotoassist_grpc::proto::SessionStatus;
use rcgen::{BasicConstraints, IsCa};
use tonic::Code;

use super::{json, run};
use crate::kit::{
    certificate::{self, Authority, Certified},
    fake_service::{End, FakeService, Script, ending, message},
    folder::Folder,
    process::Serve,
};

#[tokio::test]
async fn without_arguments_the_help_has_its_lines() {
    let (status, stdout, stderr) = run(&[]).await;
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.lines().count() > 10, "{stderr}");
    assert!(stderr.lines().any(|line| line.starts_with("  serve ")), "{stderr}");
}

#[tokio::test]
async fn the_version_tells_what_was_built() {
    let (status, stdout, _) = run(&["--version"]).await;
    let version = concat!("gotoassist-grpc ", env!("CARGO_PKG_VERSION"), " (");
    assert_eq!(status, 0);
    assert!(stdout.starts_with(version) && stdout.contains(std::env::consts::ARCH), "{stdout}");
    let (_, short, _) = run(&["-V"]).await;
    assert_eq!(short, concat!("gotoassist-grpc ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[tokio::test]
async fn a_wrong_command_line_says_what_is_right() {
    for (arguments, told) in [
        (&["get"][..], "<SESSION>; usage: gotoassist-grpc get <SESSION>"),
        (&["serv"], "; usage: gotoassist-grpc <COMMAND>"),
        (&["get", "a", "b"], "; usage: gotoassist-grpc get"),
        (&["watch", "x", "--heartbeat", "1s"], "must be from 5s to 5m"),
        (&["watch", "x", "--heartbeat", "6m"], "must be from 5s to 5m"),
    ] {
        let (status, _, stderr) = run(arguments).await;
        assert_eq!((status, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
    }
}

/// The error of `get` at this address.
async fn error(server: &str, flags: &[&str]) -> String {
    let words = ["get", "x", "--timeout", "9s", "--server", server];
    let (status, _, stderr) = run(&[&words[..], flags].concat()).await;
    assert!(status > 64, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[tokio::test]
async fn a_wrong_address_is_told_in_words() {
    let folder = Folder::new();
    let (authority, other) = (Authority::new(), Authority::new());
    let certified = authority.issue("localhost");
    let [ca, other] = [("ca.pem", authority.pem()), ("other.pem", other.pem())]
        .map(|(name, pem)| folder.write(name, pem));
    let certificate = folder.write("certificate.pem", certified.pem());
    let key = folder.write("key.pem", certified.key_pem());
    let plain = Serve::start(&["--upstream-url=http://127.0.0.1:9"]).await;
    let secured = ["--tls-cert", &certificate, "--tls-key", &key];
    let secured =
        Serve::start(&[&["--upstream-url=http://127.0.0.1:9"], &secured[..]].concat()).await;
    let ca_flag = ["--ca-file", &*ca];

    let (plain_port, tls_port) = (plain.address().port(), secured.address().port());
    let told = error(&format!("https://localhost:{plain_port}"), &ca_flag).await;
    assert!(told.contains("does not speak TLS") && told.contains("http://"), "{told}");
    for port in [tls_port, plain.admin.port()] {
        // It depends on the time what the library reports.
        for _ in 0..10 {
            let told = error(&format!("http://127.0.0.1:{port}"), &[]).await;
            assert!(told.contains("check the port, and whether it speaks TLS"), "{told}");
        }
    }
    let told = error(&format!("https://localhost:{tls_port}"), &["--ca-file", &other]).await;
    assert!(told.contains("no trusted authority") && told.contains("--ca-file"), "{told}");
    let told = error(&format!("https://127.0.0.1:{tls_port}"), &ca_flag).await;
    assert!(told.contains("has another name"), "{told}");
    plain.stop().await;
    secured.stop().await;
}

#[tokio::test]
async fn an_authority_that_serves_is_told_as_such() {
    let folder = Folder::new();
    let mut params = certificate::params("localhost");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = Certified::self_signed(&params);
    let ca = folder.write("ca.pem", authority.pem());
    let key = folder.write("key.pem", authority.key_pem());
    let flags = ["--upstream-url=http://127.0.0.1:9", "--tls-cert", &ca, "--tls-key", &key];
    let serve = Serve::start(&flags).await;
    let server = format!("https://localhost:{}", serve.address().port());
    let told = error(&server, &["--ca-file", &ca]).await;
    assert!(told.contains("certificate of an authority"), "{told}");
    serve.stop().await;
}

#[tokio::test]
async fn a_hint_says_more_than_the_error_and_names_the_flags() {
    let serve = Serve::start(&["--upstream-url=http://127.0.0.1:9"]).await;
    let url = serve.url();
    let (status, _, stderr) = run(&["get", "", "--server", &url, "--token", "a"]).await;
    assert_eq!((status, stderr.lines().count()), (67, 1), "{stderr}");
    let (status, _, stderr) = run(&["get", "x", "--server", &url]).await;
    assert_eq!(status, 80);
    assert!(stderr.contains("hint: --token-file, --token or --authorization"), "{stderr}");
    serve.stop().await;
}

#[tokio::test]
async fn a_resume_token_that_is_refused_is_not_recommended() {
    let refused = ending(Code::InvalidArgument, "RESUME_TOKEN_INVALID", None);
    let service = FakeService::start([Script(vec![], End::With(refused))]);
    let words = ["watch", "x", "--resume-token", "abc", "--server", &service.url()];
    let (status, _, stderr) = run(&words).await;
    assert_eq!(status, 67);
    assert!(!stderr.contains("to go on"), "{stderr}");
}

#[tokio::test]
async fn a_pause_is_told_in_round_numbers() {
    let soon = ending(Code::Unavailable, "STREAM_ROTATED", Some(Duration::from_micros(1_499_900)));
    let over = message(1, SessionStatus::Complete);
    let service =
        FakeService::start([Script(vec![], End::With(soon)), Script(vec![over], End::Ok)]);
    let (status, stdout, stderr) = run(&["watch", "x", "--server", &service.url()]).await;
    assert_eq!((status, json(&stdout)["terminal"].as_bool()), (0, Some(true)));
    assert!(stderr.ends_with("; resuming in 1s\n"), "{stderr}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_told_with_the_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    for command in [&["get", "x"][..], &["links", "x"], &["sessions"], &["health"]] {
        let flags = ["--server", &server, "--timeout=200ms"];
        let (status, _, stderr) = run(&[command, &flags].concat()).await;
        assert_ne!(status, 0);
        let told = "error: DEADLINE_EXCEEDED: no answer within 200ms";
        assert!(stderr.starts_with(told), "{command:?}: {stderr}");
    }
}
