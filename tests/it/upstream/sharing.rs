//! Which calls share a request, which never do, and what happens when one of them leaves.

use std::time::Duration;

use gotoassist_grpc::{
    credential::Credential,
    model::SessionId,
    trace::Cause,
    traffic::{Client, Hint, RequestContext, Urgency},
    wire::Kind,
};
use tokio::{
    runtime,
    task::JoinHandle,
    time::{Instant, advance},
};

use super::{caller, client, client_with, id, terms};
use crate::kit::stub::{SESSION, Step, Stub, answer, ok};

pub(super) const SECOND: Duration = Duration::from_secs(1);

fn other_caller() -> Credential {
    Credential::from_authorization("Bearer other-token").unwrap()
}

pub(super) fn urgency() -> Urgency {
    Urgency { since: Instant::now(), weight: 1.0, hint: Hint::default() }
}

/// An answer with this body, half a second after the request.
fn slow(body: &str) -> Vec<Step> {
    [vec![Step::Wait(SECOND / 2)], ok(body)].concat()
}

pub(super) type Outcome = Result<String, Kind>;

pub(super) fn call(
    client: &Client,
    credential: Credential,
    id: SessionId,
    terms: RequestContext,
) -> JoinHandle<Outcome> {
    let client = client.clone();
    tokio::spawn(async move {
        let answer = client.session(&credential, &id, terms).await;
        answer.map(|answer| answer.content.session_id.clone()).map_err(|error| error.kind)
    })
}

pub(super) fn poll(client: &Client, credential: Credential, id: SessionId) -> JoinHandle<Outcome> {
    let client = client.clone();
    tokio::spawn(async move {
        let answer = client.poll_session(&credential, &id, urgency(), &Cause::default()).await;
        answer.map(|answer| answer.content.session_id.clone()).map_err(|error| error.kind)
    })
}

#[tokio::test(start_paused = true)]
async fn a_hundred_identical_calls_in_flight_cost_one_request() {
    let stub = Stub::always(slow(r#"{"sessionId":"1"}"#)).await;
    let client = client(&stub);
    let calls: Vec<_> = (0..100).map(|_| call(&client, caller(), id("1"), terms())).collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok("1".to_owned()));
    }
    assert_eq!(stub.requests(), 1);
    call(&client, caller(), id("1"), terms()).await.unwrap().unwrap();
    assert_eq!(stub.requests(), 2, "an answer is for nobody who comes later");
}

#[tokio::test(start_paused = true)]
async fn calls_with_different_credentials_or_ids_share_nothing() {
    let stub = Stub::scripted(|_, head| {
        if head.contains("other-token") {
            [vec![Step::Wait(SECOND / 2)], answer("404 x", &[], "")].concat()
        } else {
            slow(r#"{"sessionId":"1","status":"complete"}"#)
        }
    })
    .await;
    let client = client(&stub);
    let calls = [
        call(&client, caller(), id("1"), terms()),
        call(&client, other_caller(), id("1"), terms()),
        call(&client, caller(), id("2"), terms()),
        poll(&client, other_caller(), id("1")),
    ];
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    let seen = Ok("1".to_owned());
    let refused = Err(Kind::NotFound);
    assert_eq!(outcomes, [seen.clone(), refused.clone(), seen, refused.clone()]);
    assert_eq!(stub.requests(), 3);
    // Now the finished session is in the cache, but only for the other credential.
    assert_eq!(call(&client, other_caller(), id("1"), terms()).await.unwrap(), refused);
    assert_eq!(stub.requests(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_joiner_with_more_time_does_not_inherit_the_first_callers_deadline() {
    let stub = Stub::always(slow(r#"{"sessionId":"1"}"#)).await;
    let client = client(&stub);
    let short = RequestContext {
        deadline: Some(Instant::now() + SECOND / 10),
        ..RequestContext::default()
    };
    let long =
        RequestContext { deadline: Some(Instant::now() + SECOND * 5), ..RequestContext::default() };
    let first = call(&client, caller(), id("1"), short);
    stub.until_requests(1).await;
    let second = call(&client, caller(), id("1"), long);
    assert_eq!(first.await.unwrap(), Err(Kind::DeadlineExceeded));
    assert_eq!(second.await.unwrap(), Ok("1".to_owned()));
    assert_eq!(stub.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_again_for_a_joiner_goes_by_the_joiners_deadline() {
    let stub = Stub::scripted(|number, _| match number {
        0 => [vec![Step::Wait(SECOND / 10)], answer("503 x", &["retry-after: 1"], "")].concat(),
        _ => ok(r#"{"sessionId":"1"}"#),
    })
    .await;
    let client = client(&stub);
    let within = |time| RequestContext {
        deadline: Some(Instant::now() + time),
        ..RequestContext::default()
    };
    let first = call(&client, caller(), id("1"), within(SECOND / 2));
    stub.until_requests(1).await;
    let second = call(&client, caller(), id("1"), within(SECOND * 5));
    assert_eq!(second.await.unwrap(), Ok("1".to_owned()));
    assert_eq!(first.await.unwrap(), Err(Kind::DeadlineExceeded));
    assert_eq!(stub.requests(), 2);
}

#[tokio::test]
async fn whoever_leaves_the_others_do_not_notice() {
    for leaver in 0..4 {
        let stub = Stub::always(slow(r#"{"sessionId":"1"}"#)).await;
        let client = client(&stub);
        let mut calls = vec![call(&client, caller(), id("1"), terms())];
        stub.until_requests(1).await;
        calls.extend((1..4).map(|_| call(&client, caller(), id("1"), terms())));
        tokio::task::yield_now().await;
        calls.remove(leaver).abort();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok("1".to_owned()));
        }
        assert_eq!(stub.requests(), 1);
    }
}

#[tokio::test]
async fn callers_on_several_threads_share_one_request() {
    let stub = Stub::always(slow(r#"{"sessionId":"1"}"#)).await;
    let client = client(&stub);
    let threads = [(); 3].map(|()| {
        let client = client.clone();
        tokio::task::spawn_blocking(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let calls = [(); 5].map(|()| call(&client, caller(), id("1"), terms()));
                for call in calls {
                    assert_eq!(call.await.unwrap(), Ok("1".to_owned()));
                }
            });
        })
    });
    for thread in threads {
        thread.await.unwrap();
    }
    assert_eq!(stub.requests(), 1);
}

#[tokio::test]
async fn when_the_last_caller_leaves_the_request_ends() {
    let stub = Stub::always(vec![Step::Hang]).await;
    let client = client(&stub);
    let calls = [(); 3].map(|()| call(&client, caller(), id("1"), terms()));
    stub.until_requests(1).await;
    for call in calls {
        call.abort();
    }
    stub.until_hangups(1).await;
    assert_eq!(stub.requests(), 1);
}

#[tokio::test]
async fn a_cancelled_call_for_links_and_a_cancelled_poll_end_their_requests() {
    let stub = Stub::always(vec![Step::Hang]).await;
    let client = client(&stub);
    let poll = poll(&client, caller(), id("1"));
    let links = tokio::spawn({
        let client = client.clone();
        async move { client.system_links(&caller(), &"a".parse().unwrap(), terms()).await }
    });
    stub.until_requests(2).await;
    poll.abort();
    links.abort();
    stub.until_hangups(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_poll_joins_a_call_in_flight_and_a_call_joins_a_poll() {
    let stub = Stub::always(slow(r#"{"sessionId":"1"}"#)).await;
    let client = client(&stub);
    let first = call(&client, caller(), id("1"), terms());
    stub.until_requests(1).await;
    assert_eq!(poll(&client, caller(), id("1")).await.unwrap(), Ok("1".to_owned()));
    first.await.unwrap().unwrap();
    assert_eq!(stub.requests(), 1);

    let first = poll(&client, caller(), id("1"));
    stub.until_requests(2).await;
    assert_eq!(call(&client, caller(), id("1"), terms()).await.unwrap(), Ok("1".to_owned()));
    first.await.unwrap().unwrap();
    assert_eq!(stub.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_waits_for_quota_takes_the_answer_of_a_call_that_came_first() {
    let stub = Stub::always(ok(r#"{"sessionId":"1"}"#)).await;
    let client = client_with(&stub, |config| {
        config.burst = 1;
        config.rps = 1.0;
    });
    call(&client, caller(), id("other"), terms()).await.unwrap().unwrap();
    let poll = poll(&client, caller(), id("1"));
    tokio::task::yield_now().await;
    assert_eq!(call(&client, caller(), id("1"), terms()).await.unwrap(), Ok("1".to_owned()));
    assert_eq!(poll.await.unwrap(), Ok("1".to_owned()));
    advance(SECOND * 10).await;
    assert_eq!(stub.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_joined_a_poll_still_gets_its_retries() {
    let stub = Stub::scripted(|number, _| match number {
        0 => [vec![Step::Wait(SECOND / 2)], answer("503 x", &[], "")].concat(),
        _ => ok(r#"{"sessionId":"1"}"#),
    })
    .await;
    let client = client(&stub);
    let poll = poll(&client, caller(), id("1"));
    stub.until_requests(1).await;
    let call = call(&client, caller(), id("1"), terms());
    assert_eq!(call.await.unwrap(), Ok("1".to_owned()));
    assert_eq!(poll.await.unwrap(), Err(Kind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_failed_answer_is_for_those_who_waited_for_it_and_nobody_later() {
    let stub = Stub::scripted(|number, _| match number {
        0 => [vec![Step::Wait(SECOND)], answer("500 x", &[], "")].concat(),
        _ => slow(r#"{"sessionId":"1"}"#),
    })
    .await;
    let client = client(&stub);
    let calls = [(); 2].map(|()| call(&client, caller(), id("1"), terms()));
    for early in calls {
        assert_eq!(early.await.unwrap(), Err(Kind::Internal));
    }
    assert_eq!(call(&client, caller(), id("1"), terms()).await.unwrap(), Ok("1".to_owned()));
    assert_eq!(stub.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_finished_session_is_served_from_memory_for_its_time() {
    for status in ["complete", "abandoned"] {
        let stub = Stub::always(ok(format!(r#"{{"status":"{status}"}}"#))).await;
        let client = client(&stub);
        let first = client.session(&caller(), &id("1"), terms()).await.unwrap();
        advance(SECOND * 29).await;
        let second = client.session(&caller(), &id("1"), terms()).await.unwrap();
        assert_eq!((stub.requests(), second.observed_at), (1, first.observed_at));
        advance(SECOND).await;
        client.session(&caller(), &id("1"), terms()).await.unwrap();
        assert_eq!(stub.requests(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_goes_on_is_always_asked_for() {
    for status in ["notStarted", "waiting", "active", "somethingNew"] {
        let stub = Stub::always(ok(format!(r#"{{"status":"{status}"}}"#))).await;
        let client = client(&stub);
        client.session(&caller(), &id("1"), terms()).await.unwrap();
        client.session(&caller(), &id("1"), terms()).await.unwrap();
        assert_eq!(stub.requests(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_lifetime_of_zero_nothing_is_kept() {
    let stub = Stub::always(ok(r#"{"status":"complete"}"#)).await;
    let client = client_with(&stub, |config| config.finished_cache = Duration::ZERO);
    client.session(&caller(), &id("1"), terms()).await.unwrap();
    client.session(&caller(), &id("1"), terms()).await.unwrap();
    assert_eq!(stub.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_poll_always_asks_and_renews_what_is_kept() {
    let stub = Stub::scripted(|number, _| {
        ok(format!(r#"{{"sessionId":"{number}","status":"complete"}}"#))
    })
    .await;
    let client = client(&stub);
    call(&client, caller(), id("1"), terms()).await.unwrap().unwrap();
    assert_eq!(poll(&client, caller(), id("1")).await.unwrap(), Ok("1".to_owned()));
    let kept = call(&client, caller(), id("1"), terms()).await.unwrap();
    assert_eq!((kept, stub.requests()), (Ok("1".to_owned()), 2));
}

#[tokio::test(start_paused = true)]
async fn what_a_credential_was_shown_dies_with_it() {
    for refusal in
        [answer("401 x", &[], ""), answer("403 x", &[], r#"{"int_err_code":"InvalidToken"}"#)]
    {
        let stub = Stub::scripted(move |_, head| {
            if head.contains("/2 ") { refusal.clone() } else { ok(r#"{"status":"complete"}"#) }
        })
        .await;
        let client = client(&stub);
        client.session(&caller(), &id("1"), terms()).await.unwrap();
        client.session(&other_caller(), &id("1"), terms()).await.unwrap();
        client.session(&caller(), &id("2"), terms()).await.unwrap_err();
        client.session(&caller(), &id("1"), terms()).await.unwrap();
        assert_eq!(stub.requests(), 4, "asked afresh");
        client.session(&other_caller(), &id("1"), terms()).await.unwrap();
        assert_eq!(stub.requests(), 4, "the other's is kept");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_found_any_more_is_forgotten() {
    let stub = Stub::scripted(|number, _| match number {
        1 => answer("404 x", &[], ""),
        _ => ok(r#"{"status":"complete"}"#),
    })
    .await;
    let client = client(&stub);
    call(&client, caller(), id("1"), terms()).await.unwrap().unwrap();
    assert_eq!(poll(&client, caller(), id("1")).await.unwrap(), Err(Kind::NotFound));
    call(&client, caller(), id("1"), terms()).await.unwrap().unwrap();
    assert_eq!(stub.requests(), 3);
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let stub = Stub::always(ok(SESSION)).await;
    let client = client(&stub);
    for number in 0..20 {
        client.session(&caller(), &id(&number.to_string()), terms()).await.unwrap();
    }
    assert_eq!((stub.requests(), stub.connections()), (20, 1));
}
