//! The status callbacks, received over real sockets.

use std::{collections::HashMap, time::Duration};

use gotoassist_grpc::{
    config::{
        SimulateConfig, from_flags,
        simulate::{CallbackBody, CallbackIds, CallbackSettings, FieldOrder, InvalidCallbackUrl},
    },
    simulator::SessionScript,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep};

use super::{
    Running,
    receiver::{Post, Receiver},
};
use crate::kit::soon;

/// A simulator that calls back to a receiver.
async fn calling(change: impl FnOnce(&mut CallbackSettings)) -> (Running, Receiver) {
    let receiver = Receiver::start(StatusCode::NO_CONTENT).await;
    (calling_to(&receiver, change).await, receiver)
}

async fn calling_to(receiver: &Receiver, change: impl FnOnce(&mut CallbackSettings)) -> Running {
    let simulator = Running::empty().await;
    simulator.change_settings(|settings| {
        settings.callbacks.url = Some(receiver.url.parse().unwrap());
        change(&mut settings.callbacks);
    });
    simulator
}

/// Waits until so many callbacks were sent.
async fn sent(simulator: &Running, count: u64) {
    simulator.until(|counters| counters.callbacks_sent >= count).await;
    // The last one may still be on its way.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(simulator.counters().callbacks_sent, count);
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, status)| ((*id).into(), (*status).into())).collect()
}

#[test]
fn flags_set_what_the_control_api_calls_callbacks() {
    let config: SimulateConfig = from_flags([
        "--callback-url=http://localhost:8090/secret",
        "--callback-delay=1500ms",
        "--callback-loss=0.5",
        "--callback-doubled=0.25",
        "--callback-body=form",
        "--callback-ids=token",
        "--callback-order=reversed",
    ])
    .unwrap();
    let expected = json!({
        "url": "http://localhost:8090/secret", "delay": 1.5, "loss": 0.5, "doubled": 0.25,
        "body": "form", "ids": "token", "order": "reversed",
    });
    assert_eq!(serde_json::to_value(config.settings).unwrap()["callbacks"], expected);
}

#[tokio::test(start_paused = true)]
async fn the_join_and_the_end_of_a_session_are_told_when_they_happen() {
    let (simulator, receiver) = calling(|_| ()).await;
    let begin = Instant::now();
    simulator.put(SessionScript::walking("1", 20.0));
    simulator.put(SessionScript::new("2").step(0.0, "waiting").step(50.0, "abandoned"));
    sent(&simulator, 3).await;
    let expected = [("1", "active"), ("2", "abandoned"), ("1", "complete")];
    assert_eq!(receiver.statuses(), pairs(&expected));
    let posts = receiver.posts();
    for (post, seconds) in posts.iter().zip([40, 50, 60]) {
        let late = (post.at - begin).checked_sub(Duration::from_secs(seconds)).unwrap();
        assert!(late < Duration::from_millis(50), "{late:?}");
        let Post { method, path, content_type, .. } = post;
        assert_eq!((method, &**path), (&Method::POST, "/callback/secret?a=b"));
        assert_eq!(content_type, "application/json;charset=UTF-8");
    }
    // The body is that of the single call.
    assert_eq!(posts[2].json(), simulator.json("/sessions/1").await);
    let counters = simulator.counters();
    assert_eq!((counters.callbacks_failed, counters.callbacks_lost), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn only_new_statuses_of_the_present_are_told() {
    let (simulator, receiver) = calling(|_| ()).await;
    let script = SessionScript::new("1").step(-20.0, "waiting").step(-10.0, "active");
    simulator.put(script.step(5.0, "active").step(6.0, "onHold").step(7.0, "waiting"));
    simulator.put(SessionScript::resting("2", "active"));
    let script = SessionScript::resting("3", "waiting").step(10.0, "active");
    simulator.put(script.later(11.0, "notes", "late").step(12.0, "complete"));
    simulator.put(SessionScript::walking("4", 10.0));
    simulator.put(SessionScript::walking("5", 10.0));
    simulator.put(SessionScript::walking("5", 5.0));
    sent(&simulator, 1).await;
    assert_eq!(receiver.statuses(), pairs(&[("2", "active")]));
    assert!(simulator.delete_session("4"));
    advance(Duration::from_hours(1)).await;
    sent(&simulator, 5).await;
    let mut told = receiver.statuses();
    told.sort_unstable();
    let expected =
        [("2", "active"), ("3", "active"), ("3", "complete"), ("5", "active"), ("5", "complete")];
    assert_eq!(told, pairs(&expected));
}

#[tokio::test(start_paused = true)]
async fn a_session_can_name_its_own_url() {
    let (own, general) =
        (Receiver::start(StatusCode::OK).await, Receiver::start(StatusCode::OK).await);
    let simulator = Running::empty().await;
    let script = json!({
        "steps": [{ "at": 0, "status": "waiting" }, { "at": 5, "status": "active" }],
        "sessionStatusCallbackUrl": own.url,
    });
    let put = simulator.control(Method::PUT, "/sessions/1", &script.to_string()).await;
    assert_eq!(put.0, 204, "{}", put.1);
    simulator.put(SessionScript::walking("2", 5.0));
    sent(&simulator, 1).await;
    assert_eq!(own.statuses(), pairs(&[("1", "active")]));
    // With the setting, all sessions have one from now on.
    let patch = json!({ "callbacks": { "url": general.url } }).to_string();
    assert_eq!(simulator.control(Method::PATCH, "/settings", &patch).await.0, 200);
    sent(&simulator, 3).await;
    assert_eq!(general.statuses(), pairs(&[("2", "active"), ("2", "complete")]));
    simulator.put(SessionScript::walking("3", 5.0));
    let patch = json!({ "callbacks": { "url": null } }).to_string();
    assert_eq!(simulator.control(Method::PATCH, "/settings", &patch).await.0, 200);
    sleep(Duration::from_mins(1)).await;
    assert_eq!((simulator.counters().callbacks_sent, own.posts().len()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_url_set_late_is_told_nothing_of_the_past() {
    let receiver = Receiver::start(StatusCode::OK).await;
    let simulator = Running::empty().await;
    simulator.put(SessionScript::walking("1", 10.0));
    advance(Duration::from_secs(20)).await;
    let url = Some(receiver.url.parse().unwrap());
    simulator.change_settings(|settings| settings.callbacks.url = url);
    sent(&simulator, 1).await;
    assert_eq!(receiver.statuses(), pairs(&[("1", "complete")]));
    // A reset takes the URL away.
    simulator.reset();
    sleep(Duration::from_mins(5)).await;
    assert_eq!(receiver.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_callback_can_come_late_and_tells_what_was() {
    let (simulator, receiver) = calling(|callbacks| callbacks.delay = 30.0).await;
    let begin = Instant::now();
    simulator.put(SessionScript::walking("1", 5.0));
    sent(&simulator, 2).await;
    assert_eq!(receiver.statuses(), pairs(&[("1", "active"), ("1", "complete")]));
    let seconds = receiver.posts().iter().map(|one| (one.at - begin).as_secs()).collect::<Vec<_>>();
    assert_eq!(seconds, [40, 45]);
    assert!(receiver.posts()[0].json().get("endedAt").is_none());
}

#[tokio::test(start_paused = true)]
async fn callbacks_can_be_lost_or_doubled() {
    let counts = async |loss, doubled| {
        let (simulator, receiver) =
            calling(|callbacks| (callbacks.loss, callbacks.doubled) = (loss, doubled)).await;
        (0..200).for_each(|id| simulator.put(SessionScript::walking(id.to_string(), 1.0)));
        sleep(Duration::from_secs(10)).await;
        let counters = simulator.counters();
        let mut told = receiver.statuses();
        assert_eq!(told.len() as u64, counters.callbacks_sent);
        told.sort_unstable();
        told.dedup();
        (counters.callbacks_sent, counters.callbacks_lost, told.len())
    };
    assert_eq!(counts(0.0, 1.0).await, (800, 0, 400));
    assert_eq!(counts(1.0, 0.0).await, (0, 400, 0));
    let (sent, lost, _) = counts(0.5, 0.0).await;
    assert!((150..250).contains(&sent) && sent + lost == 400, "{sent} {lost}");
    assert_eq!(counts(0.5, 0.0).await.0, sent);
}

#[tokio::test(start_paused = true)]
async fn a_body_can_be_a_form() {
    let (simulator, receiver) = calling(|callbacks| callbacks.body = CallbackBody::Form).await;
    let script = SessionScript::resting("1", "active").field("customerName", "Zoë & \"Co\"");
    simulator.put(script.field("partnerObject", 8_817_265).raw_field("notes", "null"));
    sent(&simulator, 1).await;
    let post = &receiver.posts()[0];
    assert_eq!(post.content_type, "application/x-www-form-urlencoded");
    let form: HashMap<_, _> =
        url::form_urlencoded::parse(post.body.as_bytes()).into_owned().collect();
    assert_eq!((&*form["sessionId"], &*form["status"]), ("1", "active"));
    assert_eq!((&*form["customerName"], &*form["partnerObject"]), ("Zoë & \"Co\"", "8817265"));
    assert_eq!((form["accountKey"].as_str(), form.get("notes")), ("1842200297248054807", None));
}

#[tokio::test(start_paused = true)]
async fn a_body_can_name_its_session_in_several_ways() {
    let cases = [
        (CallbackIds::Text, json!("1"), Value::Null),
        (CallbackIds::Number, json!(1), Value::Null),
        (CallbackIds::Token, Value::Null, json!(77)),
    ];
    for (ids, id, token) in cases {
        let (simulator, receiver) = calling(|callbacks| callbacks.ids = ids).await;
        let script = SessionScript::resting("1", "active");
        simulator.put(SessionScript { token: Some("77".into()), ..script });
        sent(&simulator, 1).await;
        let told = receiver.posts()[0].json();
        assert_eq!((&told["sessionId"], &told["sessionStartToken"]), (&id, &token), "{ids:?}");
        assert_eq!(told["status"], "active");
    }
}

#[tokio::test(start_paused = true)]
async fn the_fields_of_a_body_can_be_in_reverse_order() {
    let (simulator, receiver) = calling(|callbacks| callbacks.order = FieldOrder::Reversed).await;
    simulator.put(SessionScript::resting("1", "active"));
    sent(&simulator, 1).await;
    let post = &receiver.posts()[0];
    let (status, id) =
        (post.body.find("\"status\"").unwrap(), post.body.find("\"sessionId\"").unwrap());
    assert!(status < id, "{}", post.body);
    assert_eq!(post.json(), simulator.json("/sessions/1").await);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_or_hangs_changes_nothing() {
    let failing = Receiver::start(StatusCode::INTERNAL_SERVER_ERROR).await;
    let hanging = Receiver::after(Duration::from_hours(1), StatusCode::OK).await;
    let simulator = calling_to(&failing, |_| ()).await;
    let script = |id: &str, url: &str| SessionScript {
        session_status_callback_url: Some(url.parse().unwrap()),
        ..SessionScript::walking(id, 1.0)
    };
    simulator.put(SessionScript::walking("1", 1.0));
    simulator.put(script("2", &hanging.url));
    // Nobody listens there.
    simulator.put(script("3", "http://127.0.0.1:1/"));
    soon(simulator.until(|counters| counters.callbacks_failed == 6)).await;
    assert_eq!((failing.posts().len(), hanging.posts().len()), (2, 2));
    assert_eq!(simulator.counters().callbacks_sent, 6);
    assert_eq!(simulator.json("/sessions/2").await["status"], "complete");
}

#[tokio::test]
async fn hundreds_of_callbacks_at_once_wait_for_each_other() {
    let receiver = Receiver::after(Duration::from_millis(200), StatusCode::OK).await;
    let simulator = calling_to(&receiver, |_| ()).await;
    (0..160).for_each(|id| simulator.put(SessionScript::resting(id.to_string(), "active")));
    soon(simulator.until(|counters| counters.callbacks_sent >= 64)).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(simulator.counters().callbacks_sent, 64);
    soon(simulator.until(|counters| counters.callbacks_sent == 160)).await;
}

#[tokio::test]
async fn a_url_that_cannot_be_called_is_refused() {
    let simulator = Running::empty().await;
    for url in ["", "secret", "/callback", "https://a.example/", "ftp://a.example/", "http:///x"] {
        let said = InvalidCallbackUrl.to_string();
        let patch = json!({ "callbacks": { "url": url } }).to_string();
        let (status, answer) = simulator.control(Method::PATCH, "/settings", &patch).await;
        assert_eq!((status, answer["error"].as_str().unwrap()), (400, &*said), "{url}");
        let script =
            json!({ "steps": [{ "at": 0, "status": "active" }], "sessionStatusCallbackUrl": url });
        let put = simulator.control(Method::PUT, "/sessions/1", &script.to_string()).await;
        assert_eq!(put.0, 400, "{url}");
        let flag = format!("--callback-url={url}");
        assert!(from_flags::<SimulateConfig>([flag]).is_err(), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn random_lives_call_back_too() {
    let receiver = Receiver::start(StatusCode::OK).await;
    let mut config = SimulateConfig { random: 200, speed: 60.0, ..SimulateConfig::on_free_port() };
    config.settings.callbacks.url = Some(receiver.url.parse().unwrap());
    let simulator = Running::with(config).await;
    sleep(Duration::from_mins(5)).await;
    let told = receiver.statuses();
    let random = told.iter().filter(|(id, _)| id.starts_with("9000")).count();
    // Those that joined and ended after the start; a third of all lives began before.
    assert!((150..400).contains(&random), "{random}");
    let status = simulator.json("/sessions/SS-87555").await["status"].clone();
    assert_eq!(status, "complete");
    assert!(told.contains(&("SS-87555".into(), "active".into())));
}
