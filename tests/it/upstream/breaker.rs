//! The circuit breaker. While the vendor is down, calls fail at once and one call at a time is a
//! trial. A bad session does not affect other sessions.

use std::time::Duration;

use gotoassist_grpc::{
    credential::Credential,
    trace::Cause,
    traffic::{Client, Hint, RequestContext, Urgency},
    wire::{Error, Kind},
};
use tokio::time::{Instant, advance};

use super::{
    caller, client_with,
    credential::{service_client, token_endpoint},
    id, terms,
};
use crate::kit::stub::{SESSION, Step, Stub, answer, ok};

pub const SECOND: Duration = Duration::from_secs(1);
/// The pause before a trial.
pub const PAUSE: Duration = Duration::from_millis(2_500);

/// A client that does not retry.
pub fn client(stub: &Stub) -> Client {
    client_with(stub, |config| config.retries = 0)
}

async fn call(client: &Client) -> Result<(), Error> {
    call_for(client, "1").await
}

pub async fn call_for(client: &Client, session: &str) -> Result<(), Error> {
    client.session(&caller(), &id(session), terms()).await.map(|_| ())
}

/// Opens the circuit of session 1.
async fn open(client: &Client) {
    for _ in 0..5 {
        call(client).await.unwrap_err();
    }
}

/// Opens the circuit of the caller's credential, but no circuit of a session.
async fn open_credential(client: &Client) {
    for session in ["1", "2", "3", "1", "2"] {
        call_for(client, session).await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn after_five_failures_calls_fail_without_a_request_and_say_when_to_come_back() {
    for failure in
        [vec![Step::Reset], vec![Step::Hang], answer("503 x", &[], ""), answer("500 x", &[], "")]
    {
        let stub = Stub::always(failure).await;
        let client = client(&stub);
        open(&client).await;
        let began_at = Instant::now();
        let error = call(&client).await.unwrap_err();
        assert_eq!((error.kind, error.http_status), (Kind::Unavailable, None));
        assert_eq!(error.retry_after, Some(PAUSE));
        assert_eq!((stub.requests(), began_at.elapsed()), (5, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_no_outage_open_nothing() {
    for status in [301, 400, 401, 403, 404, 429] {
        let stub = Stub::always(answer(&format!("{status} x"), &[], "")).await;
        let client = client(&stub);
        for _ in 0..20 {
            call(&client).await.unwrap_err();
        }
        assert_eq!(stub.requests(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn only_failures_in_a_row_count() {
    let stub = Stub::scripted(|number, _| match number % 5 {
        4 => ok(SESSION),
        _ => answer("503 x", &[], ""),
    })
    .await;
    let client = client(&stub);
    for _ in 0..50 {
        call(&client).await.ok();
    }
    assert_eq!(stub.requests(), 50);
}

#[tokio::test(start_paused = true)]
async fn one_call_at_a_time_tries_the_vendor_out_and_its_success_closes_the_circuit() {
    let stub = Stub::scripted(|number, _| match number {
        0..5 => answer("503 x", &[], ""),
        5 => [vec![Step::Wait(SECOND)], ok(SESSION)].concat(),
        _ => ok(SESSION),
    })
    .await;
    let client = client(&stub);
    open_credential(&client).await;
    advance(SECOND * 5).await;
    let trial = tokio::spawn({
        let client = client.clone();
        async move { call(&client).await }
    });
    stub.until_requests(6).await;
    for number in 0..10 {
        let id = id(&format!("other{number}"));
        let error = client.session(&caller(), &id, terms()).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
    }
    assert_eq!(stub.requests(), 6);
    trial.await.unwrap().unwrap();
    call(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn however_long_the_outage_is_a_trial_comes_soon() {
    let stub = Stub::always(answer("503 x", &[], "")).await;
    let client = client(&stub);
    open(&client).await;
    for _ in 0..100 {
        let error = call(&client).await.unwrap_err();
        assert_eq!(error.retry_after, Some(PAUSE));
        advance(PAUSE).await;
        assert_eq!(call(&client).await.unwrap_err().http_status, Some(503));
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_whose_caller_leaves_makes_room_for_another() {
    let stub = Stub::scripted(|number, _| match number {
        0..5 => answer("503 x", &[], ""),
        5 => vec![Step::Hang],
        _ => ok(SESSION),
    })
    .await;
    let client = client(&stub);
    open(&client).await;
    advance(SECOND * 5).await;
    let short = RequestContext {
        deadline: Some(Instant::now() + SECOND / 10),
        ..RequestContext::default()
    };
    let error = client.session(&caller(), &id("1"), short).await.unwrap_err();
    assert_eq!(error.kind, Kind::DeadlineExceeded);
    call(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn callers_who_leave_after_a_second_open_the_circuit_for_callers_as_impatient() {
    let stub = Stub::scripted(|number, _| match number {
        0..5 => vec![Step::Hang],
        _ => [vec![Step::Wait(SECOND * 3 / 2)], ok(SESSION)].concat(),
    })
    .await;
    let client = client(&stub);
    let within = |time| RequestContext {
        deadline: Some(Instant::now() + time),
        ..RequestContext::default()
    };
    for _ in 0..5 {
        client.session(&caller(), &id("1"), within(SECOND)).await.unwrap_err();
    }
    let error = client.session(&caller(), &id("1"), within(SECOND)).await.unwrap_err();
    assert_eq!((error.kind, stub.requests()), (Kind::Unavailable, 5));
    client.session(&caller(), &id("1"), within(SECOND * 2)).await.unwrap();
    client.session(&caller(), &id("1"), terms()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_always_fails_is_refused_alone() {
    let stub =
        Stub::scripted(
            |_, head| {
                if head.contains("/bad ") { answer("502 x", &[], "") } else { ok(SESSION) }
            },
        )
        .await;
    let client = client(&stub);
    for _ in 0..12 {
        call_for(&client, "bad").await.unwrap_err();
    }
    assert_eq!(stub.requests(), 5);
    call_for(&client, "good").await.unwrap();
    assert_eq!(call_for(&client, "bad").await.unwrap_err().http_status, None, "still refused");
    assert_eq!(stub.requests(), 6);
}

#[tokio::test(start_paused = true)]
async fn the_links_of_each_domain_have_a_circuit_of_their_own() {
    let stub = Stub::scripted(|_, head| {
        if head.contains("bad.example") { answer("500 x", &[], "") } else { ok("[]") }
    })
    .await;
    let client = client(&stub);
    let bad = "bad.example".parse().unwrap();
    for _ in 0..12 {
        client.system_links(&caller(), &bad, terms()).await.unwrap_err();
    }
    assert_eq!(stub.requests(), 5);
    client.system_links(&caller(), &"good.example".parse().unwrap(), terms()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn three_failing_sessions_without_a_success_between_open_the_circuit_of_the_credential() {
    let stub = Stub::scripted(|_, head| {
        if head.contains("/good ") { ok(SESSION) } else { answer("503 x", &[], "") }
    })
    .await;
    let client = client(&stub);
    open_credential(&client).await;
    let error = call_for(&client, "good").await.unwrap_err();
    assert_eq!((error.kind, stub.requests()), (Kind::Unavailable, 5));

    let client = self::client(&stub);
    for session in ["1", "2", "good", "3", "4", "good", "5", "6"] {
        call_for(&client, session).await.ok();
    }
    call_for(&client, "good").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_success_closes_the_circuit_of_the_credential_and_lets_other_sessions_try() {
    let stub = Stub::scripted(|number, head| {
        let is_good = number >= 7 && !head.contains("/bad ");
        if is_good { ok(SESSION) } else { answer("502 x", &[], "") }
    })
    .await;
    let client = client(&stub);
    for session in ["bad", "bad", "bad", "bad", "bad", "1", "2"] {
        call_for(&client, session).await.unwrap_err();
    }
    assert_eq!(call_for(&client, "3").await.unwrap_err().http_status, None);
    // Calls for a session that is known to be bad come all the time, and come first. They do not
    // keep other calls from being the trial.
    for _ in 0..50 {
        advance(SECOND / 10).await;
        call_for(&client, "bad").await.unwrap_err();
    }
    let requests = stub.requests();
    call_for(&client, "3").await.unwrap();
    call_for(&client, "1").await.unwrap();
    // It may have failed for the same reason as the others, so it has one trial at once.
    assert_eq!(call_for(&client, "bad").await.unwrap_err().http_status, Some(502));
    assert_eq!(call_for(&client, "bad").await.unwrap_err().http_status, None);
    assert_eq!(stub.requests(), requests + 3);
}

#[tokio::test(start_paused = true)]
async fn callers_of_the_services_credential_have_circuits_of_their_own() {
    let stub = Stub::scripted(|number, _| match number {
        0..5 => answer("503 x", &[], ""),
        _ => ok(SESSION),
    })
    .await;
    let endpoint = token_endpoint().await;
    let client = service_client(&stub, &endpoint, |config| config.retries = 0);
    let caller = |name: &str| {
        Credential::Service(Credential::from_authorization(&format!("Bearer {name}")).unwrap().id())
    };
    for session in ["1", "2", "3", "1", "2"] {
        client.session(&caller("a"), &id(session), terms()).await.unwrap_err();
    }
    let error = client.session(&caller("a"), &id("4"), terms()).await.unwrap_err();
    assert_eq!((error.kind, stub.requests()), (Kind::Unavailable, 5));
    client.session(&caller("b"), &id("1"), terms()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_credentials_failures_are_not_anothers_but_a_closed_door_is_everybodys() {
    let other = Credential::from_authorization("Bearer other-token").unwrap();
    let stub = Stub::scripted(|_, head| {
        if head.contains("other-token") { ok(SESSION) } else { answer("503 x", &[], "") }
    })
    .await;
    let client = client(&stub);
    open(&client).await;
    client.session(&other, &id("1"), terms()).await.unwrap();

    let stub = Stub::always(vec![]).await;
    let client = self::client(&stub);
    stub.stop().await;
    for number in 0..5 {
        let caller = Credential::from_authorization(&format!("Bearer {number}")).unwrap();
        let error = client.session(&caller, &id("1"), terms()).await.unwrap_err();
        assert_eq!(error.kind, Kind::ConnectFailed);
    }
    let error = client.session(&other, &id("1"), terms()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_switches_it_off() {
    let stub = Stub::always(answer("503 x", &[], "")).await;
    let client = client_with(&stub, |config| {
        config.retries = 0;
        config.breaker_failures = 0;
    });
    for _ in 0..20 {
        call(&client).await.unwrap_err();
    }
    assert_eq!(stub.requests(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_trial_counts_against_the_quota() {
    let stub = Stub::always(answer("503 x", &[], "")).await;
    let client = client_with(&stub, |config| {
        config.retries = 0;
        config.burst = 5;
        config.rps = 0.01;
    });
    open(&client).await;
    advance(SECOND * 5).await;
    let terms =
        RequestContext { deadline: Some(Instant::now() + SECOND), ..RequestContext::default() };
    let error = client.session(&caller(), &id("1"), terms).await.unwrap_err();
    assert_eq!((error.kind, stub.requests()), (Kind::QuotaExhausted, 5));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_waits_for_quota_keeps_nobody_from_trying_the_vendor_out() {
    let stub = Stub::scripted(|number, _| match number {
        0..5 => answer("503 x", &[], ""),
        _ => ok(SESSION),
    })
    .await;
    let client = client_with(&stub, |config| {
        config.retries = 0;
        config.burst = 5;
        config.rps = 1.0;
        config.breaker_pause = SECOND / 2;
    });
    open_credential(&client).await;
    advance(SECOND / 2).await;
    let poll = tokio::spawn({
        let client = client.clone();
        let urgency = Urgency { since: Instant::now(), weight: 1.0, hint: Hint::default() };
        async move {
            client.poll_session(&caller(), &id("2"), urgency, &Cause::default()).await.map(|_| ())
        }
    });
    tokio::task::yield_now().await;
    call(&client).await.unwrap();
    poll.await.unwrap().unwrap();
}
