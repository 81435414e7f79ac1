//! The values of the metrics.

use gotoassist_grpc::grpc::reason::Reason;
use serde_json::json;

use super::{Serve, session, signed, soon, watch};
use crate::kit::{
    folder::Folder,
    project::{metrics, sources},
    stub::{Step, Stub, answer, ok},
};

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

    let scrape = serve.page("/metrics").await;
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
        assert!(scrape.contains(line), "{line} in:\n{scrape}");
    }
    serve.stop().await;
}

/// Prometheus sees an event only if the counter was there before it.
#[tokio::test]
async fn every_counter_is_there_from_the_start() {
    let folder = Folder::new();
    let vendor = Stub::always(ok(r#"{"access_token":"t","expires_in":3600}"#)).await;
    let token_url = format!("--token-url={}", vendor.url().join("/oauth/token").unwrap());
    let callback_secrets = folder.write("callback-secrets", "s".repeat(32));
    let key = folder.write("fleet-key", "k".repeat(32));
    let serve = Serve::start(&[
        "--upstream-url=http://127.0.0.1:9",
        "--credentials=service",
        "--client-id=i",
        "--client-secret=s",
        "--refresh-token=r",
        &token_url,
        "--callback-listen=127.0.0.1:0",
        &format!("--callback-secret-file={callback_secrets}"),
        "--fleet-url=redis://127.0.0.1:9",
        &format!("--fleet-key-file={key}"),
        "--otlp-endpoint=http://127.0.0.1:9",
    ])
    .await;
    // The log begins before the metrics, and looks at its own every two seconds.
    let is_log_there = async || serve.page("/metrics").await.contains("log_lines_dropped_total 0");
    soon(async { while !is_log_there().await {} }).await;
    let scrape = serve.page("/metrics").await;
    // The names come from the answers of the vendor.
    let is_expected =
        |name: &str| name.ends_with("_total") && name != "gotoassist_unknown_fields_total";
    let named = sources().into_iter().flat_map(|(_, source)| metrics(&source));
    let counters: Vec<_> =
        named.map(|(_, metric)| metric).filter(|name| is_expected(name)).collect();
    assert!(counters.len() > 20, "{counters:?}");
    let is_there = |name: &&String| {
        scrape.lines().any(|line| {
            line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with([' ', '{']))
        })
    };
    let missing: Vec<_> = counters.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:?} in:\n{scrape}");

    for method in ["GetSession", "WatchSession", "WatchSessions", "ListSessions", "ListSystemLinks"]
    {
        for reason in Reason::ALL {
            let labels = format!(
                "{{rpc_method=\"gotoassist.remotesupport.v1.RemoteSupportService/{method}\",\
                 reason=\"{}\"}} 0\n",
                reason.name()
            );
            assert!(scrape.contains(&labels), "{labels} in:\n{scrape}");
        }
    }
    for line in [
        r#"gotoassist_certificate_reloads_total{result="broken"} 0"#,
        r#"gotoassist_token_refreshes_total{result="refused"} 0"#,
        r#"gotoassist_connections_cut_total{cause="handshake_timeout"} 0"#,
        r#"gotoassist_connection_failures_total{cause="dns"} 0"#,
        r#"gotoassist_callbacks_total{result="wrong_secret"} 0"#,
        r#"gotoassist_sweeps_total{result="permission_denied"} 0"#,
        r#"gotoassist_polls_total{result="rejected"} 0"#,
        r#"gotoassist_breaker_refusals_total{circuit="connect"} 0"#,
        r#"gotoassist_fleet_failures_total{cause="malformed"} 0"#,
        r#"gotoassist_trace_spans_total{result="failed"} 0"#,
    ] {
        assert!(scrape.contains(line), "{line} in:\n{scrape}");
    }
    serve.stop().await;
}
