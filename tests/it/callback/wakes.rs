//! A callback makes the polls of its session come sooner, and does nothing else.

use std::time::Duration;

use futures_util::future::join_all;
use gotoassist_grpc::{
    config::{SimulateConfig, from_flags},
    proto::{SessionStatus, WatchSessionResponse, watch_session_response::EventType},
    simulator::SessionScript,
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tonic::Streaming;

use super::{PATH, SECRET, code, exchange, post, without_date};
use crate::kit::{
    folder::Folder,
    process::Serve,
    request::{signed, watch},
    soon,
    stub::{Stub, answer, ok},
    vendor::Vendor,
};

/// The time between polls is longer than the test, so that only a hint makes a poll.
const NEVER: &str = "1h";

/// The time in which a watcher must hear of a change after a callback. It takes some milliseconds,
/// and longer only on a busy machine.
const SOON: Duration = Duration::from_secs(3);

/// A vendor whose sessions are `waiting`, or `active` once the file `active` is there, and which
/// has no session `99`.
struct World {
    vendor: Stub,
    serve: Serve,
    folder: Folder,
}

impl World {
    async fn start() -> Self {
        let folder = Folder::new();
        let active = folder.path("active");
        let vendor = Stub::scripted(move |_, head| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default();
            // Both are names of the same session.
            let id = if name == "token-1" { "1" } else { name };
            let status = if active.exists() { "active" } else { "waiting" };
            match id {
                "99" => answer("404 Not Found", &[], "{}"),
                id => ok(json!({"sessionId": id, "status": status}).to_string()),
            }
        })
        .await;
        let secrets = folder.write("secrets", SECRET);
        let serve = Serve::start(&[
            "--upstream-url",
            vendor.url().as_str(),
            "--poll-waiting",
            NEVER,
            "--poll-active",
            NEVER,
            "--callback-listen=127.0.0.1:0",
            "--callback-secret-file",
            &secrets,
        ])
        .await;
        Self { vendor, serve, folder }
    }

    /// A watch that has got its snapshot.
    async fn watch(&self, session: &str, token: &str) -> Streaming<WatchSessionResponse> {
        watch_until_snapshot(&self.serve, session, token).await
    }

    async fn call_back(&self, body: &str) {
        let request = post(SECRET, "", body.as_bytes());
        assert_eq!(code(&exchange(self.serve.callback.unwrap(), &request).await), 204);
    }
}

/// A watch that has got its snapshot.
async fn watch_until_snapshot(
    serve: &Serve,
    session: &str,
    token: &str,
) -> Streaming<WatchSessionResponse> {
    let request = signed(watch(session), &format!("Bearer {token}"));
    let mut messages = serve.client().await.watch_session(request).await.unwrap().into_inner();
    let first = soon(messages.message()).await.unwrap().unwrap();
    assert_eq!(first.event_type(), EventType::Snapshot);
    messages
}

/// The next message. It must be the change to ACTIVE.
async fn active(messages: &mut Streaming<WatchSessionResponse>) {
    let changed = soon(messages.message()).await.unwrap().unwrap();
    assert_eq!(changed.event_type(), EventType::Changed);
    assert_eq!(changed.session.unwrap().status(), SessionStatus::Active);
}

#[tokio::test]
async fn a_callback_wakes_the_polls_under_every_credential_and_by_every_name() {
    for body in ["sessionId=1", r#"{"sessionId":1}"#, r#"{"session":{"sessionId":"1"}}"#] {
        let world = World::start().await;
        let mut watches = [
            world.watch("1", "a").await,
            world.watch("1", "b").await,
            world.watch("token-1", "c").await,
        ];
        let _other = world.watch("2", "a").await;
        let requests = world.vendor.requests();

        world.folder.write("active", "");
        let start = Instant::now();
        world.call_back(body).await;
        for messages in &mut watches {
            active(messages).await;
        }
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert_eq!(world.vendor.requests(), requests + 3, "the other session was not asked for");
        let hints = world.serve.metric("gotoassist_hints_total").await;
        assert!((2.5..3.5).contains(&hints), "{hints}");
        world.serve.stop().await;
    }
}

/// The simulated vendor calls back in every form that it plays.
#[tokio::test]
async fn every_form_of_the_simulators_callbacks_brings_the_change() {
    let forms = [
        ("json", "text", "documented"),
        ("json", "number", "reversed"),
        ("json", "token", "documented"),
        ("form", "text", "reversed"),
        ("form", "token", "reversed"),
    ];
    join_all(forms.map(|(body, ids, order)| brings_the_change(body, ids, order))).await;
}

/// A callback that names the session by its token wakes the watches by token.
async fn brings_the_change(body: &str, ids: &str, order: &str) {
    let (vendor, folder) = (Vendor::start().await, Folder::new());
    let secrets = folder.write("secrets", SECRET);
    let flags = ["--poll-waiting", NEVER, "--callback-listen=127.0.0.1:0"];
    let secrets = ["--callback-secret-file", &secrets];
    let serve = Serve::before(&vendor, &[&flags[..], &secrets].concat()).await;
    let address = serve.callback.unwrap();
    let config: SimulateConfig = from_flags([
        format!("--callback-url=http://{address}{PATH}{SECRET}"),
        format!("--callback-body={body}"),
        format!("--callback-ids={ids}"),
        format!("--callback-order={order}"),
    ])
    .unwrap();
    vendor.change_settings(|settings| settings.callbacks = config.settings.callbacks);
    let script = SessionScript::new("250049999").step(0.0, "waiting").step(3.0, "active");
    vendor.put_session(SessionScript { token: Some("777000777".to_owned()), ..script }).unwrap();

    let name = if ids == "token" { "777000777" } else { "250049999" };
    active(&mut watch_until_snapshot(&serve, name, "a").await).await;
    assert_eq!(vendor.counters().callbacks_sent, 1, "{body} {ids}");
    serve.stop().await;
}

#[tokio::test]
async fn what_a_callback_says_is_not_believed_and_what_it_names_is_not_asked_for_unwatched() {
    let world = World::start().await;
    let mut messages = world.watch("1", "a").await;
    let requests = world.vendor.requests();
    for body in [
        r#"{"sessionId":"99","status":"complete"}"#,
        "sessionId=2&status=complete",
        r#"{"sessionId":"../systemLinks"}"#,
    ] {
        world.call_back(body).await;
    }
    // A lie about the watched session costs a request, and tells nothing.
    world.call_back(r#"{"sessionId":1,"status":"complete","notes":"believe me"}"#).await;
    soon(async {
        while world.vendor.requests() == requests {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    world.folder.write("active", "");
    world.call_back("sessionId=1").await;
    active(&mut messages).await;
    assert_eq!(world.vendor.requests(), requests + 2);
    world.serve.stop().await;
}

#[tokio::test]
async fn the_answer_does_not_tell_whether_a_session_is_watched() {
    let world = World::start().await;
    let _messages = world.watch("1", "a").await;
    let address = world.serve.callback.unwrap();
    let mut times = [Duration::ZERO; 2];
    let mut answers = [String::new(), String::new()];
    for _ in 0..50 {
        for (each, session) in ["1", "9"].into_iter().enumerate() {
            let body = format!("sessionId={session}");
            let start = Instant::now();
            let answer = exchange(address, &post(SECRET, "", body.as_bytes())).await;
            times[each] += start.elapsed();
            answers[each] = without_date(&answer);
        }
    }
    assert_eq!(answers[0], answers[1]);
    // The answer waits for no poll, which takes far longer than the difference.
    let [watched, unknown] = times.map(|time| time / 50);
    assert!(watched.abs_diff(unknown) < Duration::from_millis(20), "{watched:?} {unknown:?}");
    world.serve.stop().await;
}
