//! The rate of token requests: at most one in thirty seconds, whatever the endpoint or the vendor
//! answers.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use gotoassist_grpc::{credential::token::TokenSource, wire::Kind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{TokenEndpoint, endpoint_and_source, seconds, secret_file::TokenFile, text};

/// The seconds between each token request and the next one.
fn gaps(endpoint: &TokenEndpoint) -> Vec<f64> {
    let asked = endpoint.asked();
    asked.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect()
}

/// Makes a call every half second. No call may fail or wait.
async fn calls_go_well(source: &TokenSource, during: Duration) {
    let start = Instant::now();
    while start.elapsed() < during {
        let asked = Instant::now();
        source.authorization().await.unwrap();
        assert!(asked.elapsed() < Duration::from_millis(50));
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_dead_at_once_is_used_until_it_is_refused() {
    for life in [json!(0), json!(-1), json!("0"), json!("-3600"), json!(0.9), json!(-1e300)] {
        let (endpoint, source) = endpoint_and_source().await;
        endpoint.answer_always(200, json!({"access_token": "t", "expires_in": life}));
        calls_go_well(&source, seconds(600)).await;
        assert_eq!(endpoint.asked().len(), 1, "{life}");
        let token = source.authorization().await.unwrap();
        source.refused(&token).await.unwrap();
        assert_eq!(endpoint.asked().len(), 2, "{life}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_tiny_life_is_used_until_the_next_may_be_fetched() {
    for life in [json!(1), json!("5"), json!(29.5)] {
        let (endpoint, source) = endpoint_and_source().await;
        endpoint.answer_always(200, json!({"access_token": "t", "expires_in": life}));
        calls_go_well(&source, seconds(600)).await;
        let gaps = gaps(&endpoint);
        assert!((15..20).contains(&gaps.len()), "{life}: {gaps:?}");
        assert!(gaps.iter().all(|gap| *gap >= 30.0), "{life}: {gaps:?}");
    }
}

/// The token has expired, so a refusal does not mean that the user has no seat.
#[tokio::test(start_paused = true)]
async fn a_refused_token_that_has_outlived_its_life_is_awaited() {
    let (endpoint, source) = endpoint_and_source().await;
    endpoint.answer_always(200, json!({"access_token": "t", "expires_in": 5}));
    let first = source.authorization().await.unwrap();
    let second = source.refused(&first).await.unwrap();
    assert_eq!(source.refused(&second).await.unwrap_err().kind, Kind::NoSeat);
    sleep(seconds(10)).await;
    let error = source.refused(&second).await.unwrap_err();
    assert_eq!(error.kind, Kind::CredentialUnavailable);
    sleep(error.retry_after.unwrap()).await;
    source.refused(&second).await.unwrap();
    let gaps = gaps(&endpoint);
    assert!(gaps.len() == 2 && gaps[1] >= 30.0, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn no_answers_make_it_ask_more_than_once_in_thirty_seconds() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (endpoint, source) = endpoint_and_source().await;
        for _ in 0..1000 {
            let life: Value = match random.u8(..6) {
                0 => json!(0),
                1 => json!(-1),
                2 => json!(random.f64() * 60.0),
                3 => json!(random.u32(..600).to_string()),
                4 => json!(null),
                _ => json!(random.u32(..4000)),
            };
            endpoint.answer_always(200, json!({"access_token": "t", "expires_in": life}));
            let token = source.authorization().await.unwrap();
            let is_refused = random.u8(..if seed % 2 == 0 { 4 } else { 100 }) == 0;
            if is_refused {
                let _refused_or_not = source.refused(&token).await;
            }
            sleep(Duration::from_millis(random.u64(..10_000))).await;
        }
        // The first token is replaced at once if it is refused, so the first gap may be short.
        let late = gaps(&endpoint).split_off(1);
        assert!(late.len() > 5 && late.iter().all(|gap| *gap >= 30.0), "{seed}: {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_ends_the_hold_after_a_refusal_but_not_its_first_thirty_seconds() {
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("old");
    let source = file.source(&endpoint);
    // Refuses every token for an hour. At the end of it, the hold is five minutes.
    for _ in 0..3600 {
        let token = source.authorization().await.unwrap();
        let _held = source.refused(&token).await;
        sleep(seconds(1)).await;
    }
    let count = endpoint.asked().len();
    endpoint.until_asked(count + 1).await;
    let refused = source.authorization().await.unwrap();
    assert_eq!(source.refused(&refused).await.unwrap_err().kind, Kind::NoSeat);
    std::fs::write(&file.path, "of a user with a seat").unwrap();
    endpoint.until_asked(count + 2).await;
    assert_eq!(endpoint.asked()[count + 1].form["refresh_token"], "of a user with a seat");
    let gap = gaps(&endpoint)[count];
    assert!((30.0..36.0).contains(&gap), "{gap}");
    assert_ne!(text(&source.authorization().await.unwrap()), text(&refused));
}
