//! `watch --state-file` and `watch --exec`.

use std::fs;

use gotoassist_grpc::proto::SessionStatus;

use super::{first_line, json, run};
use crate::kit::{
    fake_service::{End, FakeService, Script, message},
    folder::Folder,
    process::{binary, exit_code, signal},
};

#[tokio::test]
async fn a_watch_goes_on_where_it_was_interrupted() {
    let folder = Folder::new();
    let file = folder.path("state").display().to_string();
    let (waiting, complete) = (SessionStatus::Waiting, SessionStatus::Complete);
    let service = FakeService::start([
        Script(vec![message(1, waiting)], End::Never),
        Script(vec![message(2, complete)], End::Ok),
    ]);
    let url = service.url();
    let words = ["watch", "known", "--server", &url, "--state-file", &file];
    let mut child = binary(&words).spawn().unwrap();
    assert_eq!(json(&first_line(&mut child).await)["resumeToken"], "token-1");
    // The file is written after the line.
    let is_kept = || fs::read_to_string(&file).is_ok_and(|text| text.contains("token-1"));
    crate::kit::soon(async {
        while !is_kept() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    signal(&child, "-KILL").await;
    assert_eq!(exit_code(&mut child).await, None);

    let (status, stdout, stderr) = run(&words).await;
    assert_eq!((status, stderr.as_str(), stdout.lines().count()), (0, "", 1));
    let tokens: Vec<_> = service.watches().into_iter().map(|watch| watch.resume_token).collect();
    assert_eq!(tokens, ["", "token-1"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"known\":\"token-2\"}\n");
    let left = fs::read_dir(folder.path("")).unwrap().count();
    assert_eq!(left, 1, "no other file is left behind");
}

#[tokio::test]
async fn a_state_file_that_cannot_be_used_is_told_at_once() {
    let folder = Folder::new();
    let broken = folder.write("broken", "no JSON");
    let nowhere = folder.path("no/such/folder").display().to_string();
    let service =
        FakeService::start([Script(vec![message(1, SessionStatus::Waiting)], End::Never)]);
    for (file, expected) in [(&broken, 2), (&nowhere, 1)] {
        let words = ["watch", "known", "--server", &service.url(), "--state-file", file];
        let (status, _, stderr) = run(&words).await;
        assert_eq!(status, expected, "{stderr}");
        assert!(stderr.starts_with("error: --state-file"), "{stderr}");
    }
    let (status, ..) = run(&["watch", "--all", "--state-file", &broken]).await;
    assert_eq!(status, 2);
}

#[tokio::test]
async fn a_command_runs_for_each_change_with_the_message() {
    let folder = Folder::new();
    let seen = folder.path("seen").display().to_string();
    let messages = vec![message(1, SessionStatus::Waiting), message(2, SessionStatus::Complete)];
    let service = FakeService::start([Script(messages, End::Ok)]);
    let command =
        format!("read -r line; echo \"$WATCH_SESSION_ID $WATCH_EVENT_TYPE $line\" >>'{seen}'");
    let words = ["watch", "known", "--server", &service.url(), "--exec", &command];
    let (status, _, stderr) = run(&words).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    let seen = fs::read_to_string(&seen).unwrap();
    let [snapshot, change] = seen.lines().collect::<Vec<_>>()[..] else { panic!("{seen}") };
    for (line, event_type, token) in
        [(snapshot, "SNAPSHOT", "token-1"), (change, "CHANGED", "token-2")]
    {
        let (words, message) = line.split_at(line.find('{').unwrap());
        assert_eq!(words, format!("known {event_type} "));
        assert_eq!(json(message)["resumeToken"], token);
    }
}

#[tokio::test]
async fn a_change_whose_command_fails_comes_again() {
    let folder = Folder::new();
    let file = folder.path("state").display().to_string();
    let messages = || vec![message(1, SessionStatus::Waiting), message(2, SessionStatus::Complete)];
    let service =
        FakeService::start([Script(messages(), End::Ok), Script(messages().split_off(1), End::Ok)]);
    let url = service.url();
    let watch = async |command: &str| {
        let words = ["watch", "known", "--server", &url, "--state-file", &file, "--exec", command];
        run(&words).await
    };
    let (status, _, stderr) = watch("test $WATCH_EVENT_TYPE = SNAPSHOT").await;
    assert_eq!(status, 1);
    assert!(stderr.starts_with("error: --exec: test $WATCH_EVENT_TYPE"), "{stderr}");
    assert_eq!(watch("true").await.0, 0);
    assert_eq!(service.watches()[1].resume_token, "token-1");
}
