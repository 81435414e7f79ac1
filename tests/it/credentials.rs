//! The service's own credential, over real sockets to a token endpoint and on paused time.

#![expect(clippy::unwrap_used, reason = "a test")]

mod distance;
mod endpoint;
mod oddities;
mod replicas;
mod secret_file;
mod silence;

use std::time::Duration;

use futures_util::future::join_all;
use gotoassist_grpc::{
    credential::token::{Authorization, TokenSource},
    wire::Kind,
};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use crate::kit::credential::token_source;
use endpoint::TokenEndpoint;

fn source(endpoint: &TokenEndpoint, flags: &[&str]) -> TokenSource {
    token_source(&endpoint.url, flags)
}

async fn endpoint_and_source() -> (TokenEndpoint, TokenSource) {
    let endpoint = TokenEndpoint::start().await;
    let source = source(&endpoint, &["--refresh-token", "hush-refresh"]);
    (endpoint, source)
}

fn text(authorization: &Authorization) -> String {
    authorization.header_value().to_str().unwrap().to_owned()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn invalid_grant() -> Value {
    json!({"error": "invalid_grant", "error_description": "hush-description"})
}

#[tokio::test(start_paused = true)]
async fn the_refresh_token_buys_an_access_token() {
    let (endpoint, source) = endpoint_and_source().await;
    let authorization = source.authorization().await.unwrap();
    assert_eq!(text(&authorization), "Bearer access-1");
    assert!(authorization.header_value().is_sensitive());
    let asked = &endpoint.asked()[0];
    assert_eq!(asked.form["grant_type"], "refresh_token");
    assert_eq!(asked.form["refresh_token"], "hush-refresh");
    assert_eq!(asked.form.len(), 2, "{:?}", asked.form);
    // base64 of `id:hush%3Asecret` (RFC 6749 §2.3.1).
    assert_eq!(asked.authorization, "Basic aWQ6aHVzaCUzQXNlY3JldA==");
}

#[tokio::test(start_paused = true)]
async fn the_personal_access_token_buys_an_access_token() {
    let endpoint = TokenEndpoint::start().await;
    let source = source(&endpoint, &["--personal-access-token", "hush&pat"]);
    assert_eq!(text(&source.authorization().await.unwrap()), "Bearer access-1");
    let asked = &endpoint.asked()[0];
    assert_eq!(asked.form["grant_type"], "personal_access_token");
    assert_eq!(asked.form["pat"], "hush&pat");
    assert_eq!(asked.form.len(), 2, "{:?}", asked.form);
    assert!(asked.authorization.starts_with("Basic "));
}

#[tokio::test(start_paused = true)]
async fn answers_of_every_era_are_read() {
    let answers = [
        (json!({"access_token": "t", "expires_in": 600, "token_type": "Bearer"}), 600),
        (json!({"access_token": "t", "expires_in": "600", "scope": "a b"}), 600),
        (json!({"access_token": "t", "expires_in": 600.5, "principal": {"a": 1}}), 600),
        (json!({"access_token": "t", "token_type": null, "refresh_token": null}), 3600),
        (json!({"access_token": "t".repeat(9000), "expires_in": null}), 3600),
        (json!({"access_token": "t", "expires_in": "soon"}), 3600),
        (json!({"access_token": "t", "expires_in": "600.25", "token_type": "bearer"}), 600),
        (json!({"access_token": 5, "expires_in": 600, "refresh_token": {}, "error": null}), 600),
        (json!({"access_token": " t ", "expires_in": 1e300, "refresh_token": false}), 3600),
        (json!({"access_token": "t", "expires_in": 0}), 3600),
        (json!({"access_token": "t", "expires_in": "-5"}), 3600),
        (json!({"access_token": "t", "expires_in": "NaN"}), 3600),
        (json!({"access_token": "t", "expires_in": 0.25}), 3600),
        (json!({"access_token": "t", "expires_in": 1}), 60),
        (json!({"access_token": "t", "expires_in": 59}), 60),
        (json!({"access_token": "t", "expires_in": 1e12}), 30 * 24 * 3600),
    ];
    for (answer, life) in answers {
        let (endpoint, source) = endpoint_and_source().await;
        endpoint.answer_next(200, answer.clone());
        source.authorization().await.unwrap();
        let expires_in = source.snapshot().expires_in;
        assert!(expires_in <= seconds(life) && expires_in + seconds(1) > seconds(life), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_else_comes_is_an_error_not_a_panic() {
    let answers = [
        (200, json!("<html>")),
        (200, json!("")),
        (200, json!({})),
        (200, json!({"access_token": ""})),
        (200, json!({"access_token": "a\nb"})),
        (200, json!({"access_token": "t".repeat(300_000)})),
        (302, json!("")),
        (400, json!({"error": "brand_new"})),
        (401, json!("")),
        (403, json!("<html>")),
        (429, json!("slow down")),
        (500, invalid_grant()),
        (200, invalid_grant()),
        (200, json!({"access_token": null, "error": {}})),
        (400, json!({"access_token": "t", "error": 5})),
    ];
    for (status, answer) in answers {
        let (endpoint, source) = endpoint_and_source().await;
        endpoint.answer_next(status, answer.clone());
        let error = source.authorization().await.unwrap_err();
        assert_eq!(error.kind, Kind::CredentialUnavailable, "{status} {answer}");
        assert!(error.retry_after.unwrap() > Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_calls_cost_one_refresh() {
    let (endpoint, source) = endpoint_and_source().await;
    let calls = join_all((0..100).map(|_| source.authorization())).await;
    assert!(calls.iter().all(|call| text(call.as_ref().unwrap()) == "Bearer access-1"));
    assert_eq!(endpoint.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_before_it_expires() {
    let (endpoint, source) = endpoint_and_source().await;
    source.authorization().await.unwrap();
    advance(seconds(3600 * 79 / 100)).await;
    assert_eq!(text(&source.authorization().await.unwrap()), "Bearer access-1");
    advance(seconds(3600 * 12 / 100)).await;
    assert_eq!(text(&source.authorization().await.unwrap()), "Bearer access-2");
    assert_eq!(endpoint.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn kept_fresh_no_call_ever_waits() {
    let (endpoint, source) = endpoint_and_source().await;
    source.authorization().await.unwrap();
    for _ in 0..4 * 60 {
        tokio::time::sleep(seconds(60)).await;
        let asked = Instant::now();
        source.authorization().await.unwrap();
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
    assert!((4..=6).contains(&endpoint.asked().len()), "{}", endpoint.asked().len());
}

#[tokio::test(start_paused = true)]
async fn a_token_serves_until_it_expires_while_the_endpoint_is_down() {
    let (endpoint, source) = endpoint_and_source().await;
    let start = Instant::now();
    source.authorization().await.unwrap();
    endpoint.answer_always(503, json!("down"));
    while start.elapsed() < seconds(3595) {
        assert_eq!(text(&source.authorization().await.unwrap()), "Bearer access-1");
        advance(Duration::from_millis(500)).await;
    }
    let attempts = endpoint.asked().len();
    assert!((8..40).contains(&attempts), "put off longer and longer: {attempts}");
    advance(seconds(6)).await;
    let error = source.authorization().await.unwrap_err();
    assert_eq!(error.kind, Kind::CredentialUnavailable);
    endpoint.answer_well();
    advance(error.retry_after.unwrap_or_default()).await;
    assert!(text(&source.authorization().await.unwrap()).starts_with("Bearer access-"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_costs_one_refresh_however_many_calls_met_it() {
    let (endpoint, source) = endpoint_and_source().await;
    let first = source.authorization().await.unwrap();
    let calls = join_all((0..50).map(|_| source.refused(&first))).await;
    assert!(calls.iter().all(|call| text(call.as_ref().unwrap()) == "Bearer access-2"));
    assert_eq!(text(&source.refused(&first).await.unwrap()), "Bearer access-2");
    assert_eq!(text(&source.authorization().await.unwrap()), "Bearer access-2");
    assert_eq!(endpoint.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_user_without_a_seat_costs_no_endless_refreshes() {
    let (endpoint, source) = endpoint_and_source().await;
    let mut refusals = 0;
    for _ in 0..3600 {
        let token = source.authorization().await.unwrap();
        if let Err(error) = source.refused(&token).await {
            assert_eq!(error.kind, Kind::NoSeat);
            refusals += 1;
        }
        advance(seconds(1)).await;
    }
    assert!(refusals > 3500, "{refusals}");
    assert!(endpoint.asked().len() < 25, "{}", endpoint.asked().len());
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_given_again_while_the_endpoint_is_down() {
    let (endpoint, source) = endpoint_and_source().await;
    let token = source.authorization().await.unwrap();
    endpoint.answer_always(503, json!("down"));
    for _ in 0..10 {
        let error = source.refused(&token).await.unwrap_err();
        assert_eq!(error.kind, Kind::CredentialUnavailable);
    }
    // Other calls may still use the token, because the refusal may have been a mistake.
    assert_eq!(text(&source.authorization().await.unwrap()), "Bearer access-1");
    assert_eq!(endpoint.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_a_second_for_a_refresh_while_its_token_is_good() {
    let (endpoint, source) = endpoint_and_source().await;
    source.authorization().await.unwrap();
    endpoint.hold();
    advance(seconds(3600 * 95 / 100)).await;
    let asked = Instant::now();
    assert_eq!(text(&source.authorization().await.unwrap()), "Bearer access-1");
    assert_eq!(asked.elapsed().as_secs(), 1);
    assert_eq!(endpoint.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_source_nobody_is_asked() {
    let (endpoint, source) = endpoint_and_source().await;
    source.authorization().await.unwrap();
    drop((source.clone(), source));
    tokio::time::sleep(seconds(2 * 3600)).await;
    assert_eq!(endpoint.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_status_counts_even_if_its_body_is_too_long() {
    for status in [429, 500, 503] {
        let (endpoint, source) = endpoint_and_source().await;
        endpoint.answer_next(status, json!("x".repeat(300_000)));
        let error = source.authorization().await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, format!("the token endpoint answered with status {status}"));
    }
}
