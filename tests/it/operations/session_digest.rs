//! The digest that ties the log, errors and the status page of a session together.

use tonic_types::StatusExt as _;

use super::{Serve, binary, run, session, signed, watch};
use crate::kit::{
    folder::Folder,
    stub::{Stub, answer, ok},
};

#[tokio::test]
async fn a_log_line_an_error_and_the_page_name_a_session_alike() {
    let folder = Folder::new();
    let key = folder.write("key", "the key of all replicas\n");
    let vendor = Stub::scripted(|_, head| match head {
        _ if head.contains("failing") => answer("500 x", &[], ""),
        _ => ok(r#"{"sessionId":"250040353","status":"waiting"}"#),
    })
    .await;
    let url = vendor.url().to_string();
    let flags = ["--upstream-url", &url, "--resume-key-file", &key, "--upstream-retries=0"];
    let serve = Serve::start(&flags).await;

    let words = ["session-digest", "watched", "failing", "--resume-key-file", &key];
    let (status, stdout, stderr) = run(binary(&words)).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    let [watched, failing] = stdout.lines().collect::<Vec<_>>()[..] else { panic!("{stdout}") };
    assert_ne!(watched, failing);

    let mut client = serve.client().await;
    let messages = client.watch_session(signed(watch("watched"), "Bearer a")).await.unwrap();
    let refused = client.get_session(signed(session("failing"), "Bearer a")).await.unwrap_err();
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["session_digest"], failing, "{info:?}");

    let page = serve.page("/").await;
    assert!(page.contains(&format!("<code>{watched}</code>")), "{page}");
    let admin = format!("http://{}", serve.admin);
    let (status, stdout, stderr) =
        run(binary(&["status", "--admin", &admin, "--output=text"])).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("ready, version ") && stdout.contains(watched), "{stdout}");
    let (status, stdout, _) = run(binary(&["status", "--admin", &admin])).await;
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((status, json["polls"][0]["session_digest"].as_str()), (0, Some(watched)));
    let (status, _, stderr) = run(binary(&["status", "--admin", &serve.url()])).await;
    assert_eq!(status, 1, "{stderr}");

    drop(messages);
    let log = serve.stop().await;
    let line = log.lines().find(|line| line.contains("call failed")).unwrap();
    assert!(line.contains(&format!("session_digest={failing} ")), "{line}");
    let line = log.lines().find(|line| line.contains("WatchSession\"")).unwrap();
    assert!(line.contains(&format!("session_digest={watched} ")), "{line}");
}

#[tokio::test]
async fn a_digest_needs_the_key_of_the_service() {
    let (status, stdout, stderr) = run(binary(&["session-digest", "1"])).await;
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.contains("--resume-key-file"), "{stderr}");
}
