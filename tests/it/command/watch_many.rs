//! `watch` of several sessions and of all.

use gotoassist_grpc::simulator::SessionScript;

use super::{json, run};
use crate::kit::{process::Serve, vendor::Vendor};

const QUICK: [&str; 4] =
    ["--poll-waiting=100ms", "--poll-active=100ms", "--upstream-rps=200", "--upstream-burst=200"];

/// Three sessions, one of which has ended.
async fn desk(flags: &[&str]) -> (Vendor, Serve) {
    let vendor = Vendor::start().await;
    for script in [
        SessionScript::resting("a", "waiting").step(4.0, "active").step(6.0, "complete"),
        SessionScript::resting("b", "waiting").step(5.0, "abandoned"),
        SessionScript::resting("c", "complete"),
    ] {
        vendor.put_session(script).unwrap();
    }
    let serve = Serve::before(&vendor, &[&QUICK[..], flags].concat()).await;
    (vendor, serve)
}

async fn watch(serve: &Serve, arguments: &[&str]) -> (i32, String, String) {
    let url = serve.url();
    run(&[&["watch", "--server", &url, "--token", "t"], arguments].concat()).await
}

#[tokio::test]
async fn several_sessions_are_printed_until_all_are_over() {
    let (_vendor, serve) = desk(&[]).await;
    let (status, stdout, stderr) = watch(&serve, &["a", "b", "c"]).await;
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    let messages: Vec<_> = stdout.lines().map(json).collect();
    for id in ["a", "b", "c"] {
        let of_session: Vec<_> =
            messages.iter().filter(|message| message["sessionId"] == id).collect();
        let [.., terminal, ended] = &*of_session else { panic!("{of_session:?}") };
        assert!(!of_session[0]["update"]["session"].is_null(), "{of_session:?}");
        assert_eq!(terminal["update"]["terminal"], true);
        assert_eq!(ended["ended"], serde_json::json!({}), "OK");
    }
}

#[tokio::test]
async fn text_has_a_line_for_each_change() {
    let (_vendor, serve) = desk(&[]).await;
    let (status, stdout, _) = watch(&serve, &["a", "b", "c", "--output", "text"]).await;
    assert_eq!(status, 0);
    assert!(!stdout.contains('\u{1b}'), "no colour in a pipe: {stdout}");
    for line in
        ["  a  waiting", "  a  waiting → active", "  b  waiting → abandoned", "  c  complete"]
    {
        assert!(stdout.contains(line), "{line:?} is missing: {stdout}");
    }
    // One session is told in the same way.
    let (_, stdout, _) = watch(&serve, &["c", "--output", "text"]).await;
    assert!(stdout.trim_end().ends_with("Z  c  complete"), "{stdout}");
}

#[tokio::test]
async fn a_session_that_cannot_be_watched_ends_alone_and_tells_the_exit_status() {
    let (_vendor, serve) = desk(&[]).await;
    let (status, stdout, _) = watch(&serve, &["b", "missing", "--output", "text"]).await;
    assert_eq!(status, 69, "NOT_FOUND: {stdout}");
    assert!(stdout.contains("missing  NOT_FOUND (SESSION_NOT_FOUND)"), "{stdout}");
    assert!(stdout.contains("  b  waiting → abandoned"), "{stdout}");
}

#[tokio::test]
async fn all_shows_every_session_and_goes_on() {
    let (_vendor, serve) = desk(&[]).await;
    let arguments = ["--all", "--from", "1h", "--timeout", "12s", "--output", "text"];
    let (status, stdout, stderr) = watch(&serve, &arguments).await;
    assert_eq!((status, stderr.as_str()), (68, "error: the time is over\n"));
    for line in ["  a  waiting → active", "  b  waiting → abandoned", "  c  complete"] {
        assert!(stdout.contains(line), "{line:?} is missing: {stdout}");
    }
}

#[tokio::test]
async fn all_needs_the_list() {
    let (_vendor, serve) = desk(&["--sweep=off"]).await;
    let (status, _, stderr) = watch(&serve, &["--all"]).await;
    assert_eq!(status, 76, "UNIMPLEMENTED");
    assert!(stderr.starts_with("error: UNIMPLEMENTED (SESSION_LIST_OFF)"), "{stderr}");
}

#[tokio::test]
async fn flags_that_do_not_go_together_are_refused() {
    for (arguments, word) in [
        (&["watch"][..], "SESSION"),
        (&["watch", "a", "b", "--resume-token", "t"], "--resume-token"),
        (&["watch", "--all", "--resume-token", "t"], "--resume-token"),
        (&["watch", "a", "--from", "1h"], "--all"),
    ] {
        let (status, _, stderr) = run(arguments).await;
        assert_eq!(status, 2, "{stderr}");
        assert!(stderr.contains(word), "{stderr}");
    }
}
