//! The metrics of upstream requests.

use gotoassist_grpc::{admin::metrics::builder, traffic::RequestContext};
use tokio::time::{Duration, Instant};

use super::{caller, client, client_with, id, terms};
use crate::kit::stub::{Step, Stub, answer, ok};

#[tokio::test(start_paused = true)]
async fn requests_retries_sharing_drift_and_the_breaker_are_counted() {
    let recorder = builder().unwrap().build_recorder();
    let shown = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);

    let stub = Stub::scripted(|number, _| match number {
        0 => answer("503 x", &[], ""),
        1 => [
            vec![Step::Wait(Duration::from_millis(9))],
            ok(r#"{"status":"complete","sessionStartToken":"t","e@x.com":1}"#),
        ]
        .concat(),
        _ => vec![Step::Hang],
    })
    .await;
    let client = client(&stub);
    let (caller, first) = (caller(), id("1"));
    let (one, other) = tokio::join!(
        client.session(&caller, &first, terms()),
        client.session(&caller, &first, terms())
    );
    one.unwrap();
    other.unwrap();
    client.session(&caller, &first, terms()).await.unwrap();
    let short = RequestContext {
        deadline: Some(Instant::now() + Duration::from_secs(1)),
        ..RequestContext::default()
    };
    client.session(&caller, &id("2"), short).await.unwrap_err();

    let down = Stub::always(answer("500 x", &[], "")).await;
    let down = client_with(&down, |config| config.breaker_failures = 1);
    down.session(&caller, &first, terms()).await.unwrap_err();
    down.session(&caller, &first, terms()).await.unwrap_err();

    let shown = shown.render();
    for line in [
        r#"http_client_request_duration_seconds_count{call="session",result="ok"} 1"#,
        r#"http_client_request_duration_seconds_count{call="session",result="unavailable"} 1"#,
        r#"http_client_request_duration_seconds_count{call="session",result="cancelled"} 1"#,
        r#"gotoassist_retries_total{call="session"} 1"#,
        "gotoassist_shared_requests_total 1",
        "gotoassist_finished_cache_hits_total 1",
        r#"gotoassist_unknown_fields_total{field="sessionStartToken"} 1"#,
        r#"gotoassist_unknown_fields_total{field="other"} 1"#,
        r#"gotoassist_breaker_open_circuits{circuit="session"} 1"#,
        r#"gotoassist_breaker_open_circuits{circuit="credential"} 0"#,
        r#"gotoassist_breaker_open_circuits{circuit="connect"} 0"#,
        r#"gotoassist_breaker_refusals_total{circuit="session"} 1"#,
    ] {
        assert!(shown.contains(&format!("{line}\n")), "{line} in:\n{shown}");
    }
    assert!(!shown.contains("x.com"));
}
