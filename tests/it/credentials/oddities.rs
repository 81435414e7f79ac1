//! Unusual answers of a token endpoint. The simulator gives them.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use gotoassist_grpc::{
    credential::token::TokenSource,
    simulator::{Control, Rule},
    wire::Kind,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{seconds, secret_file::TokenFile, silence::Captured, text};
use crate::kit::{credential::token_source, vendor::Vendor};

/// A token endpoint that plays each fault the given number of times, and then gives good answers.
async fn endpoint(faults: &[(u64, &str)]) -> (Vendor, String) {
    let vendor = Vendor::start().await;
    let url = vendor.token_url.clone();
    for (times, fault) in faults {
        let rule = format!(r#"{{"fault":{fault},"route":"token","times":{times}}}"#);
        vendor.add_fault(rule.parse::<Rule>().unwrap());
    }
    (vendor, url)
}

fn source(file: &TokenFile, url: &str) -> TokenSource {
    token_source(url, &["--refresh-token-file", file.path.to_str().unwrap()])
}

/// Waits until the token endpoint has had this many requests. Returns the time that this took.
async fn until_asked(control: &Control, times: u64) -> Duration {
    let start = Instant::now();
    while control.counters().token_requests < times {
        assert!(start.elapsed() < seconds(3600), "it is not asked");
        sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_kept_up_to_five_minutes() {
    let cases = [
        (r#"{"kind":"status","status":429,"retryAfter":30}"#, 30.0),
        (r#"{"kind":"status","status":503,"body":"html","retryAfter":30}"#, 30.0),
        (r#"{"kind":"status","status":503,"retryAfterDate":30}"#, 29.0),
        (r#"{"kind":"status","status":429,"retryAfter":86400}"#, 300.0),
        (r#"{"kind":"status","status":429,"retryAfter":0}"#, 0.8),
        (r#"{"kind":"status","status":429,"retryAfter":"soon"}"#, 0.8),
        (
            r#"{"kind":"status","status":429,"body":"oauth","code":"slow_down","retryAfter":30}"#,
            30.0,
        ),
    ];
    for (fault, wait) in cases {
        let (control, url) = endpoint(&[(1, fault)]).await;
        let file = TokenFile::new("r");
        let source = source(&file, &url);
        let error = source.authorization().await.unwrap_err();
        assert_eq!(error.kind, Kind::CredentialUnavailable);
        let told = error.retry_after.unwrap().as_secs_f64();
        assert!((wait..wait + 1.1).contains(&told), "{fault}: {told}");
        let waited = until_asked(&control, 2).await.as_secs_f64();
        assert!((wait - 0.1..wait + 1.2).contains(&waited), "{fault}: {waited}");
        source.authorization().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_object_is_the_error_it_names_whatever_the_status() {
    for status in [200, 202, 400, 401, 404, 429, 500, 503] {
        let fault =
            json!({"kind": "status", "status": status, "body": "oauth", "code": "invalid_grant"});
        let (control, url) = endpoint(&[(1000, &fault.to_string())]).await;
        let log = Captured::default();
        let _guard = log.listen();
        let file = TokenFile::new("spent");
        let source = source(&file, &url);
        let start = Instant::now();
        while start.elapsed() < seconds(3600) {
            assert!(source.authorization().await.is_err());
            sleep(seconds(5)).await;
        }
        let asked = control.counters().token_requests;
        assert!((10..20).contains(&asked), "{status}: as rarely as after any refusal: {asked}");
        let log = log.text();
        assert_eq!(log.matches("a new refresh token, personal access token").count(), 1, "{log}");
        assert!(log.contains("the token endpoint refused: invalid_grant"), "{log}");
        control.clear_faults();
        std::fs::write(&file.path, "good").unwrap();
        source.authorization().await.unwrap();
    }
}

/// A busy token endpoint does not make the service ask the operator for a new secret.
#[tokio::test(start_paused = true)]
async fn an_unknown_error_with_a_passing_status_passes() {
    for (status, code) in [(429, "too_many_requests"), (503, "maintenance"), (400, "server_error")]
    {
        let fault = json!({"kind": "status", "status": status, "body": "oauth", "code": code});
        let (control, url) = endpoint(&[(1, &fault.to_string())]).await;
        let file = TokenFile::new("r");
        let source = source(&file, &url);
        assert!(source.authorization().await.is_err());
        assert!(until_asked(&control, 2).await < seconds(2), "{status} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_odd_forms_is_read_all_the_same() {
    let body = |text: &str| json!({"kind": "body", "text": text}).to_string();
    let fields = |fields| json!({"kind": "fields", "fields": fields}).to_string();
    let cases = [
        (body("\u{feff}{\"access_token\":\"t\"}"), Some("Bearer t"), "old"),
        (body(" \n{\"access_token\":\"t\",\"access_token\":\"u\"}\r\n"), Some("Bearer u"), "old"),
        (fields(json!({"access_token": 12_345})), Some("Bearer 12345"), "old"),
        (fields(json!({"refresh_token": 5})), None, "5\n"),
        (fields(json!({"refresh_token": " new "})), None, "new\n"),
        (fields(json!({"refresh_token": null})), None, "old"),
        (fields(json!({"refresh_token": {"token": "x"}})), None, "old"),
        (fields(json!({"refresh_token": ["x"]})), None, "old"),
        (fields(json!({"refresh_token": true})), None, "old"),
        (fields(json!({"refresh_token": ""})), None, "old"),
        (fields(json!({"refresh_token": "a\nb"})), None, "old"),
        (fields(json!({"token_type": "bearer"})), None, "old"),
        (fields(json!({"token_type": 5, "scope": [], "principal": null})), None, "old"),
        (fields(json!({"expires_in": "3600"})), None, "old"),
        (fields(json!({"expires_in": 3600.5})), None, "old"),
        (fields(json!({"expires_in": -5})), None, "old"),
        (fields(json!({"expires_in": []})), None, "old"),
    ];
    for (fault, authorization, kept) in cases {
        let (_control, url) = endpoint(&[(1, &fault)]).await;
        let file = TokenFile::new("old");
        let source = source(&file, &url);
        let token =
            source.authorization().await.unwrap_or_else(|error| panic!("{fault} {error:?}"));
        assert!(authorization.is_none_or(|expected| text(&token) == expected), "{fault}");
        assert_eq!(file.read(), kept, "{fault}");
        let life = source.snapshot().expires_in;
        assert!(life > seconds(3590) && life <= seconds(3601), "{fault}: {life:?}");
    }
}
