//! The credential of upstream requests. It is the caller's, unchanged, or the service's, which is
//! refreshed. No request uses the credential of another caller.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use gotoassist_grpc::{
    clock::Clock,
    config::UpstreamConfig,
    credential::Credential,
    trace::Cause,
    traffic::{Client, Hint, RequestContext, Urgency},
    wire::Kind,
};
use tokio::time::{Instant, sleep, timeout};

use super::{caller, client, client_with, id, terms};
use crate::kit::{
    credential::token_source,
    stub::{SESSION, Step, Stub, answer, ok},
};

/// A token endpoint whose nth token (from 0) is `token-n`.
pub(super) async fn token_endpoint() -> Stub {
    Stub::scripted(|number, _| {
        let token = format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#);
        [
            answer("200 OK", &["content-type: application/json", "connection: close"], token),
            vec![Step::Close],
        ]
        .concat()
    })
    .await
}

/// A client with the service's own credential.
pub(super) fn service_client(
    vendor: &Stub,
    endpoint: &Stub,
    change: impl FnOnce(&mut UpstreamConfig),
) -> Client {
    let mut config = UpstreamConfig::at(vendor.url());
    change(&mut config);
    let tokens = token_source(endpoint.url().as_str(), &["--refresh-token=refresh"]);
    Client::new(&config, Some(tokens), Clock::system()).unwrap()
}

/// The token of each request so far.
fn tokens(stub: &Stub) -> Vec<String> {
    let line = |head: String| {
        head.lines().find_map(|line| Some(line.strip_prefix("authorization: ")?.to_owned()))
    };
    stub.heads().into_iter().filter_map(line).collect()
}

#[tokio::test]
async fn the_callers_authorization_goes_upstream_in_the_form_it_came_in() {
    let stub = Stub::always(ok(SESSION)).await;
    let client = client(&stub);
    for form in ["Bearer eyJ.a-b_c~d+e/f==", "OAuth oauth_token=0123456789abcdef"] {
        let credential = Credential::from_authorization(form).unwrap();
        client.session(&credential, &id("1"), terms()).await.unwrap();
        assert_eq!(tokens(&stub).pop().unwrap(), form);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_of_the_service_is_refreshed_once_and_the_call_goes_on() {
    for refusal in [
        answer("401 x", &[], ""),
        answer("403 x", &[], r#"{"int_err_code":"InvalidToken","msg":"Invalid token passed"}"#),
    ] {
        let vendor =
            Stub::scripted(
                move |_, head| {
                    if head.contains("token-0") { refusal.clone() } else { ok(SESSION) }
                },
            )
            .await;
        let endpoint = token_endpoint().await;
        let client = service_client(&vendor, &endpoint, |_| {});
        client.session(&Credential::SERVICE, &id("1"), terms()).await.unwrap();
        client.session(&Credential::SERVICE, &id("1"), terms()).await.unwrap();
        assert_eq!(tokens(&vendor), ["Bearer token-0", "Bearer token-1", "Bearer token-1"]);
        assert_eq!(endpoint.requests(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_means_no_seat_and_is_no_loop() {
    let vendor = Stub::always(answer("401 x", &["x-request-id: r"], "")).await;
    let endpoint = token_endpoint().await;
    let client = service_client(&vendor, &endpoint, |_| {});
    let error = client.session(&Credential::SERVICE, &id("1"), terms()).await.unwrap_err();
    assert_eq!((error.kind, error.http_status), (Kind::NoSeat, Some(401)));
    assert_eq!((vendor.requests(), endpoint.requests()), (2, 2));
}

/// A vendor that refuses the first tokens of the endpoint. Tests may change how many. The session
/// `slow` is refused after five seconds.
async fn revoking_vendor() -> (Stub, Arc<AtomicUsize>) {
    let revoked = Arc::new(AtomicUsize::new(1));
    let count = Arc::clone(&revoked);
    let script = move |_, head: &str| {
        let number = head.split("Bearer token-").nth(1).unwrap().lines().next().unwrap();
        if number.parse::<usize>().unwrap() >= count.load(Ordering::SeqCst) {
            return ok(SESSION);
        }
        let pause = if head.contains("/slow") { 5 } else { 0 };
        [vec![Step::Wait(Duration::from_secs(pause))], answer("401 x", &[], "")].concat()
    };
    (Stub::scripted(script).await, revoked)
}

#[tokio::test(start_paused = true)]
async fn a_token_that_worked_is_replaced_when_it_may_be_and_means_no_missing_seat() {
    let (vendor, revoked) = revoking_vendor().await;
    let endpoint = token_endpoint().await;
    let client = service_client(&vendor, &endpoint, |_| {});
    let call = async || client.session(&Credential::SERVICE, &id("1"), terms()).await;
    call().await.unwrap();
    for used in 2..6 {
        // The current token has worked, and is refused after ten seconds.
        sleep(Duration::from_secs(10)).await;
        revoked.store(used, Ordering::SeqCst);
        let error = call().await.unwrap_err();
        assert_eq!(error.kind, Kind::CredentialUnavailable);
        let wait = error.retry_after.unwrap();
        assert!(wait > Duration::from_secs(19) && wait <= Duration::from_secs(20), "{wait:?}");
        sleep(wait).await;
        call().await.unwrap();
        assert_eq!(endpoint.requests(), used + 1);
    }
    // From now on, no fresh token works.
    sleep(Duration::from_secs(31)).await;
    revoked.store(usize::MAX, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(call().await.unwrap_err().kind, Kind::NoSeat);
    }
    assert_eq!(endpoint.requests(), 7);
}

/// The token task fetches a new token as soon as it may. If the vendor refuses the new token before
/// it has worked, the previous token still proves that the user has a seat. Two such tokens in a
/// row prove that there is no seat.
#[tokio::test(start_paused = true)]
async fn two_tokens_that_never_worked_in_a_row_mean_a_missing_seat() {
    let (vendor, revoked) = revoking_vendor().await;
    let endpoint = token_endpoint().await;
    let client = service_client(&vendor, &endpoint, |_| {});
    let call = async || client.session(&Credential::SERVICE, &id("1"), terms()).await;
    call().await.unwrap();
    for (number, expected) in [
        (2, Kind::CredentialUnavailable),
        (3, Kind::CredentialUnavailable),
        (4, Kind::NoSeat),
        (5, Kind::NoSeat),
    ] {
        sleep(Duration::from_secs(10)).await;
        revoked.store(number, Ordering::SeqCst);
        for _ in 0..2 {
            assert_eq!(call().await.unwrap_err().kind, expected, "{number}");
        }
        while endpoint.requests() == number {
            sleep(Duration::from_secs(1)).await;
        }
    }
    call().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_of_an_old_token_says_nothing_of_one_that_has_worked_since() {
    let (vendor, revoked) = revoking_vendor().await;
    let endpoint = token_endpoint().await;
    let client = service_client(&vendor, &endpoint, |_| {});
    let (slow, quick) = (id("slow"), id("1"));
    let slow = client.session(&Credential::SERVICE, &slow, terms());
    let quick = async {
        client.session(&Credential::SERVICE, &quick, terms()).await.unwrap();
        revoked.store(2, Ordering::SeqCst);
    };
    let (error, ()) = tokio::join!(slow, quick);
    assert_eq!(error.unwrap_err().kind, Kind::CredentialUnavailable);
}

#[tokio::test(start_paused = true)]
async fn another_403_is_no_matter_of_the_token() {
    let vendor = Stub::always(answer("403 x", &[], r#"{"errorCode":"Forbidden"}"#)).await;
    let endpoint = token_endpoint().await;
    let client = service_client(&vendor, &endpoint, |_| {});
    let error = client.session(&Credential::SERVICE, &id("1"), terms()).await.unwrap_err();
    assert_eq!(error.kind, Kind::PermissionDenied);
    assert_eq!((vendor.requests(), endpoint.requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_refreshed_too() {
    let vendor = Stub::scripted(move |_, head| {
        if head.contains("token-0") { answer("401 x", &[], "") } else { ok(SESSION) }
    })
    .await;
    let endpoint = token_endpoint().await;
    let client = service_client(&vendor, &endpoint, |_| {});
    let urgency = Urgency { since: Instant::now(), weight: 1.0, hint: Hint::default() };
    client.poll_session(&Credential::SERVICE, &id("1"), urgency, &Cause::default()).await.unwrap();
    assert_eq!((vendor.requests(), endpoint.requests()), (2, 2));
}

#[tokio::test]
async fn without_a_source_of_tokens_the_services_credential_sends_nothing() {
    let stub = Stub::always(ok(SESSION)).await;
    let error = client(&stub).session(&Credential::SERVICE, &id("1"), terms()).await.unwrap_err();
    assert_eq!((error.kind, stub.connections()), (Kind::CredentialUnavailable, 0));
}

/// All kinds of sharing at once: shared calls and polls, finished sessions, the breaker, and
/// callers that leave. One credential may read the sessions, and the other never can.
#[tokio::test(start_paused = true)]
async fn over_ten_thousand_interleavings_nobody_sees_what_another_was_shown() {
    let stub = Stub::scripted(|number, head| {
        let pause = vec![Step::Wait(Duration::from_millis(number as u64 % 4))];
        let status = ["active", "complete", "abandoned"][number % 3];
        let answer = if head.contains("caller-token") {
            ok(format!(r#"{{"sessionId":"shown","status":"{status}"}}"#))
        } else {
            answer("404 Not Found", &[], "")
        };
        [pause, answer].concat()
    })
    .await;
    let client = client_with(&stub, |config| config.finished_cache = Duration::from_millis(20));
    let stranger = Credential::from_authorization("Bearer stranger-token").unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut shown, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let asked = (0..random.usize(2..4)).map(|_| {
            let credential = if random.bool() { caller() } else { stranger.clone() };
            let (client, id) = (client.clone(), id(["1", "2"][random.usize(..2)]));
            // One in four leaves early.
            let patience = if random.u8(..4) == 0 { random.u64(1..5) } else { 1_000 };
            let (is_poll, patience) = (random.bool(), Duration::from_millis(patience));
            let start = Duration::from_millis(random.u64(..3));
            async move {
                tokio::time::sleep(start).await;
                let urgency = Urgency { since: Instant::now(), weight: 1.0, hint: Hint::default() };
                let answer = async {
                    if is_poll {
                        client.poll_session(&credential, &id, urgency, &Cause::default()).await
                    } else {
                        client.session(&credential, &id, RequestContext::default()).await
                    }
                };
                (credential.id(), timeout(patience, answer).await)
            }
        });
        for (credential, outcome) in join_all(asked.collect::<Vec<_>>()).await {
            match outcome {
                Ok(Ok(_)) if credential == caller().id() => shown += 1,
                Ok(Err(error)) if credential == stranger.id() => {
                    assert_eq!(error.kind, Kind::NotFound);
                    refused += 1;
                }
                Err(_left) => {}
                Ok(outcome) => panic!("{outcome:?}"),
            }
        }
    }
    assert!(shown > 5_000 && refused > 5_000, "{shown} {refused}");
}
