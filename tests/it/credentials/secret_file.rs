//! Secret files that the vendor, the operator or another replica replaces.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use gotoassist_grpc::{credential::token::TokenSource, wire::Kind};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, advance, sleep, timeout};

use super::{TokenEndpoint, invalid_grant, seconds, silence::Captured, source, text};

/// A refresh token in a file.
pub struct TokenFile {
    directory: TempDir,
    pub path: PathBuf,
}

impl TokenFile {
    pub fn new(token: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("refresh-token");
        std::fs::write(&path, token).unwrap();
        Self { directory, path }
    }

    pub fn source(&self, endpoint: &TokenEndpoint) -> TokenSource {
        source(endpoint, &["--refresh-token-file", self.path.to_str().unwrap()])
    }

    pub fn read(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_refresh_token_replaces_the_old_one_in_its_file() {
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("old\n");
    let link = file.directory.path().join("link");
    std::os::unix::fs::symlink(&file.path, &link).unwrap();
    let source = source(&endpoint, &["--refresh-token-file", link.to_str().unwrap()]);
    let answer = json!({"access_token": "a", "expires_in": 10, "refresh_token": "new"});
    endpoint.answer_next(200, answer);
    source.authorization().await.unwrap();
    assert_eq!(file.read(), "new\n");
    let mode = std::fs::metadata(&file.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(file.directory.path()).unwrap().count(),
        2,
        "nothing is left over"
    );
    assert!(link.is_symlink());
    advance(seconds(60)).await;
    source.authorization().await.unwrap();
    let used: Vec<_> =
        endpoint.asked().iter().map(|asked| asked.form["refresh_token"].clone()).collect();
    assert_eq!(used, ["old", "new"]);
    assert_eq!(file.read(), "new\n", "no new one came");
}

#[tokio::test(start_paused = true)]
async fn a_new_refresh_token_that_cannot_be_written_serves_from_memory() {
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("old");
    let source = file.source(&endpoint);
    let held = endpoint.hold();
    let answer = json!({"access_token": "a", "expires_in": 10, "refresh_token": "new"});
    endpoint.answer_next(200, answer);
    let call = source.authorization();
    tokio::pin!(call);
    assert!(timeout(seconds(1), &mut call).await.is_err());
    // The volume disappears, and comes back unchanged.
    let away = file.directory.path().with_extension("away");
    std::fs::rename(file.directory.path(), &away).unwrap();
    held.add_permits(1000);
    call.await.unwrap();
    std::fs::rename(&away, file.directory.path()).unwrap();
    assert_eq!(file.read(), "old", "the file keeps what it had");
    advance(seconds(60)).await;
    source.authorization().await.unwrap();
    assert_eq!(endpoint.asked()[1].form["refresh_token"], "new");
    assert_eq!(file.read(), "new\n", "it is tried again");
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_in_the_file_is_used_at_once() {
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("spent");
    let source = file.source(&endpoint);
    endpoint.answer_always(400, invalid_grant());
    for _ in 0..100 {
        let error = source.authorization().await.unwrap_err();
        assert_eq!(error.kind, Kind::CredentialUnavailable);
    }
    assert_eq!(endpoint.asked().len(), 1, "no hot loop");
    endpoint.answer_well();
    std::fs::write(&file.path, "good").unwrap();
    source.authorization().await.unwrap();
    assert_eq!(endpoint.asked()[1].form["refresh_token"], "good");
}

#[tokio::test(start_paused = true)]
async fn a_secret_file_that_comes_back_is_used_at_once() {
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("good");
    let source = file.source(&endpoint);
    std::fs::remove_file(&file.path).unwrap();
    for _ in 0..2 {
        let error = source.authorization().await.unwrap_err();
        assert_eq!(error.kind, Kind::CredentialUnavailable);
    }
    std::fs::write(&file.path, "good").unwrap();
    source.authorization().await.unwrap();
    assert_eq!(endpoint.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_share_a_file_survive_single_use_tokens() {
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("first");
    let source = file.source(&endpoint);
    let held = endpoint.hold();
    endpoint.answer_next(400, invalid_grant());
    let call = source.authorization();
    tokio::pin!(call);
    assert!(timeout(seconds(1), &mut call).await.is_err());
    std::fs::write(&file.path, "second").unwrap();
    held.add_permits(1000);
    assert_eq!(text(&call.await.unwrap()), "Bearer access-2");
    assert_eq!(endpoint.asked()[1].form["refresh_token"], "second");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_believed_if_no_new_secret_comes_for_three_seconds() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.answer_always(400, invalid_grant());
    let file = TokenFile::new("spent");
    let path = file.path.to_str().unwrap();
    for (flags, patience) in
        [(["--refresh-token-file", path], 3), (["--refresh-token", "spent"], 0)]
    {
        let (start, before) = (Instant::now(), endpoint.asked().len());
        source(&endpoint, &flags).authorization().await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), patience);
        assert_eq!(endpoint.asked().len(), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_file_the_secret_read_last_is_used() {
    let log = Captured::default();
    let _guard = log.listen();
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("old");
    let source = file.source(&endpoint);
    source.authorization().await.unwrap();
    let away = file.directory.path().with_extension("away");
    std::fs::rename(file.directory.path(), &away).unwrap();
    for expected in ["Bearer access-2", "Bearer access-3"] {
        sleep(seconds(3600)).await;
        assert_eq!(text(&source.authorization().await.unwrap()), expected);
    }
    let warning = "a secret file cannot be read";
    assert_eq!(log.text().matches(warning).count(), 1, "{}", log.text());
    std::fs::rename(&away, file.directory.path()).unwrap();
    std::fs::write(&file.path, "new").unwrap();
    sleep(seconds(3600)).await;
    assert_eq!(text(&source.authorization().await.unwrap()), "Bearer access-4");
    let used: Vec<_> =
        endpoint.asked().iter().map(|asked| asked.form["refresh_token"].clone()).collect();
    assert_eq!(used, ["old", "old", "old", "new"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_loses_no_refresh_token() {
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("old");
    let source = file.source(&endpoint);
    let held = endpoint.hold();
    endpoint.answer_next(200, json!({"access_token": "a", "refresh_token": "new"}));
    assert!(timeout(seconds(1), source.authorization()).await.is_err());
    held.add_permits(1000);
    // This is long enough for the answer to arrive, and for the time limit of the attempt to pass.
    for _ in 0..300 {
        sleep(seconds(1)).await;
    }
    assert_eq!(text(&source.authorization().await.unwrap()), "Bearer a");
    assert_eq!(endpoint.asked().len(), 1);
    assert_eq!(file.read(), "new\n");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_goes_while_it_asks_loses_no_refresh_token() {
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("old");
    let source = file.source(&endpoint);
    let held = endpoint.hold();
    endpoint.answer_next(200, json!({"access_token": "a", "refresh_token": "new"}));
    endpoint.until_asked(1).await;
    drop(source);
    held.add_permits(1000);
    sleep(seconds(2 * 3600)).await;
    assert_eq!((endpoint.asked().len(), file.read()), (1, "new\n".to_owned()));
}
