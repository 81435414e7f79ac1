//! The cause of a failed connection appears everywhere an operator looks.

use tonic_types::StatusExt as _;

use super::{Serve, session, signed};
use crate::kit::unused_url;

#[tokio::test]
async fn the_cause_is_in_the_error_the_log_the_metrics_and_the_status_page() {
    let url = unused_url();
    let given = ["--upstream-url", &url, "--upstream-retries", "0"];
    let log = ["--log-format", "json", "--log-level", "debug"];
    let serve = Serve::start(&[given, log].concat()).await;
    let mut client = serve.client().await;
    let call = client.get_session(signed(session("1"), "Bearer t"));
    let info = call.await.unwrap_err().get_details_error_info().unwrap();
    assert_eq!(info.reason, "UPSTREAM_CONNECT_FAILED");
    assert_eq!(info.metadata.get("cause").map(String::as_str), Some("refused"));

    let metrics = serve.page("/metrics").await;
    let counted = r#"gotoassist_connection_failures_total{cause="refused"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    let page = serve.page("/").await;
    assert!(page.contains("<code>UPSTREAM_CONNECT_FAILED</code> <code>refused</code>"), "{page}");
    let log = serve.stop().await;
    for line in ["call failed", "asked GoToAssist"] {
        let told = |text: &str| text.contains(line) && text.contains(r#""cause":"refused""#);
        assert!(log.lines().any(told), "{line} in {log}");
    }
}

#[tokio::test]
async fn the_log_tells_why_the_token_endpoint_cannot_be_reached() {
    let url = format!("{}/oauth/token", unused_url());
    let own = ["--credentials", "service", "--client-id", "id", "--client-secret", "secret"];
    let grant = ["--refresh-token", "token", "--token-url", &url];
    let serve = Serve::start(&[&own[..], &grant].concat()).await;
    let mut client = serve.client().await;
    client.get_session(signed(session("1"), "Bearer t")).await.unwrap_err();
    let log = serve.stop().await;
    assert!(log.contains("no connection to the token endpoint: refused"), "{log}");
}
