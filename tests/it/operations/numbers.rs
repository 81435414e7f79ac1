//! The values of the metrics.

use serde_json::json;

use super::{Serve, session, signed, watch};
use crate::kit::stub::{Step, Stub, answer, ok};

#[tokio::test]
async fn a_watch_from_waiting_to_complete_can_be_read_from_the_metrics() {
    let vendor = Stub::scripted(|number, head| match number {
        _ if head.starts_with("POST") => {
            let token = ok(json!({"access_token": "t", "expires_in": 3600}).to_string());
            [token, vec![Step::Close]].concat()
        }
        0..=3 => ok(r#"{"status":"waiting"}"#),
        4 => answer("503 x", &[], ""),
        _ => ok(r#"{"status":"complete"}"#),
    })
    .await;
    let url = vendor.url().to_string();
    let own = ["--credentials", "service", "--client-id", "i", "--client-secret", "s"];
    let token_url = vendor.url().join("/oauth/token").unwrap().to_string();
    let own = [&own[..], &["--refresh-token", "r", "--token-url", &token_url]].concat();
    let quick = ["--poll-waiting", "20ms", "--poll-active", "20ms", "--upstream-rps", "1000"];
    let serve = Serve::start(&[&["--upstream-url", &url], &own[..], &quick].concat()).await;

    let mut client = serve.client().await;
    client.get_session(signed(session("1"), "Bearer a")).await.unwrap();
    let mut messages =
        client.watch_session(signed(watch("2"), "Bearer a")).await.unwrap().into_inner();
    while messages.message().await.unwrap().is_some() {}

    let metrics = serve.page("/metrics").await;
    for line in [
        r#"gotoassist_watch_messages_total{event_type="SNAPSHOT"} 1"#,
        r#"gotoassist_watch_messages_total{event_type="CHANGED"} 1"#,
        r#"gotoassist_transitions_total{inferred="true"} 1"#,
        r#"gotoassist_transitions_total{inferred="false"} 1"#,
        "gotoassist_watch_delivery_lag_seconds_count 1",
        r#"gotoassist_polls_total{result="changed"} 1"#,
        r#"gotoassist_polls_total{result="failed"} 1"#,
        r#"gotoassist_quota_wait_seconds_count{class="watch"}"#,
        r#"gotoassist_quota_wait_seconds_count{class="unary"} 2"#,
        r#"gotoassist_token_refreshes_total{result="ok"} 1"#,
        "gotoassist_stale_watches 0",
        "gotoassist_token_failing 0",
        "gotoassist_token_validity_seconds",
    ] {
        assert!(metrics.contains(line), "{line} in:\n{metrics}");
    }
    serve.stop().await;
}
