//! SIGHUP: the service reads its files again, and no call ends.

use tonic::Code;

use super::{Serve, reason, session, signed, watch};
use crate::kit::{
    certificate::Authority,
    folder::Folder,
    stub::{Stub, ok},
};

/// The output of `printf %s one | sha256sum`, and of the same for `two`.
const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
const TWO: &str = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";

fn write_certificate(folder: &Folder) {
    let certified = Authority::new().issue("localhost");
    folder.write("certificate.pem", certified.pem());
    folder.write("key.pem", certified.key_pem());
}

#[tokio::test]
async fn a_hangup_has_new_certificates_taken_at_once() {
    let folder = Folder::new();
    write_certificate(&folder);
    let file = |name: &str| folder.path(name).display().to_string();
    let serve = Serve::start(&[
        "--upstream-url=http://127.0.0.1:9",
        "--tls-cert",
        &file("certificate.pem"),
        "--tls-key",
        &file("key.pem"),
        "--tls-reload-interval=1h",
    ])
    .await;
    write_certificate(&folder);
    serve.signal("-HUP").await;
    serve.until_logged("certificates reloaded").await;
    let reloads = r#"gotoassist_certificate_reloads_total{result="loaded"} 1"#;
    assert!(serve.page("/metrics").await.contains(reloads));

    folder.write("key.pem", "broken");
    serve.signal("-HUP").await;
    serve.until_logged("certificates not reloaded").await;
    serve.stop().await;
}

#[tokio::test]
async fn a_hangup_has_new_tokens_taken_and_ends_neither_watches_nor_the_process() {
    let vendor = Stub::scripted(|_, head| {
        let token = ok(r#"{"access_token":"t","expires_in":3600}"#);
        if head.starts_with("POST") { token } else { ok(r#"{"status":"active"}"#) }
    })
    .await;
    let (url, token_url) = (vendor.url(), vendor.url().join("/oauth/token").unwrap());
    let folder = Folder::new();
    let tokens = folder.write("tokens", ONE);
    let serve = Serve::start(&[
        "--upstream-url",
        url.as_str(),
        "--token-url",
        token_url.as_str(),
        "--credentials=service",
        "--client-id=i",
        "--client-secret=s",
        "--refresh-token=r",
        "--client-tokens-file",
        &tokens,
    ])
    .await;
    let mut client = serve.client().await;
    let watched = client.watch_session(signed(watch("1"), "Bearer one")).await.unwrap();
    let mut messages = watched.into_inner();
    messages.message().await.unwrap().unwrap();

    folder.write("tokens", TWO);
    serve.signal("-HUP").await;
    // The service checks the file without a call.
    serve.until_logged("callers' tokens reloaded").await;
    client.get_session(signed(session("1"), "Bearer two")).await.unwrap();
    let refused = client.get_session(signed(session("1"), "Bearer one")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    serve.signal("-TERM").await;
    let end = loop {
        match messages.message().await {
            Ok(message) => assert!(message.is_some(), "no OK before the session is over"),
            Err(end) => break end,
        }
    };
    assert_eq!(reason(&end), "SERVER_DRAINING", "the watch lived until the drain");
    serve.ended().await;
}
