//! The lives of sessions, scripted and random, without a socket.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use gotoassist_grpc::{
    config::SimulateConfig,
    simulator::{Control, FIRST_RANDOM_ID, InvalidScript, SessionScript, control, router},
};
use serde_json::Value;
use tokio::time::advance;
use tower::ServiceExt;

fn simulator(config: SimulateConfig) -> Control {
    control(&SimulateConfig { clock: Some("2026-01-02T03:04:30Z".parse().unwrap()), ..config })
        .unwrap()
}

fn status(control: &Control, id: &str) -> Option<String> {
    let (_, status) = control.statuses().into_iter().find(|(known, _)| known == id).unwrap();
    status
}

#[tokio::test(start_paused = true)]
async fn a_walking_session_passes_every_status_in_order() {
    let control = simulator(SimulateConfig::on_free_port());
    control.put_session(SessionScript::walking("1", 2.0)).unwrap();
    let mut statuses = Vec::new();
    for millis in [0, 1900, 100, 2000, 2000, 1_000_000_000_000] {
        advance(Duration::from_millis(millis)).await;
        statuses.push(status(&control, "1").unwrap());
    }
    let expected = ["notStarted", "notStarted", "waiting", "active", "complete", "complete"];
    assert_eq!(statuses, expected);
}

#[tokio::test(start_paused = true)]
async fn times_follow_from_the_steps() {
    let control = simulator(SimulateConfig::on_free_port());
    control.put_session(SessionScript::walking("1", 2.0)).unwrap();
    advance(Duration::from_secs(7)).await;
    let request = http::Request::get("/G2A/rest/v1/sessions/1?oauth_token=t");
    let answer = router(&control).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let session: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(session["startedAt"], "2026-01-02T03:04:32Z");
    assert_eq!(session["customerJoinedAt"], "2026-01-02T03:04:34Z");
    assert_eq!(session["endedAt"], "2026-01-02T03:04:36Z");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_not_there_before_its_first_step() {
    let control = simulator(SimulateConfig::on_free_port());
    control.put_session(SessionScript::new("1").step(5.0, "waiting")).unwrap();
    advance(Duration::from_millis(4900)).await;
    assert_eq!(status(&control, "1"), None);
    advance(Duration::from_millis(100)).await;
    assert_eq!(status(&control, "1").unwrap(), "waiting");
}

#[tokio::test]
async fn a_script_without_a_first_status_is_refused() {
    let control = simulator(SimulateConfig::on_free_port());
    let put = |script| control.put_session(script);
    let script = SessionScript::new("1").later(-1.0, "notes", "x").step(0.0, "waiting");
    assert_eq!(put(script).unwrap_err(), InvalidScript::NoStatus("1".into()));
    assert_eq!(put(SessionScript::new("")).unwrap_err(), InvalidScript::NoId);
    let script = SessionScript::new("1").step(f64::NAN, "waiting");
    assert_eq!(put(script).unwrap_err(), InvalidScript::NotFinite("1".into()));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_lives() {
    let lives = |seed| {
        let config = SimulateConfig { random: 50, seed, ..SimulateConfig::on_free_port() };
        let control = simulator(config);
        let ids = FIRST_RANDOM_ID..FIRST_RANDOM_ID + 50;
        let lives: Vec<_> = ids.map(|id| control.session(&id.to_string()).unwrap()).collect();
        serde_json::to_string(&lives).unwrap()
    };
    assert_eq!(lives(1), lives(1));
    assert_ne!(lives(1), lives(2));
}

#[tokio::test(start_paused = true)]
async fn random_lives_can_be_played_and_end() {
    let config = SimulateConfig { random: 1000, seed: 7, speed: 10.0, ..Default::default() };
    let control = simulator(config);
    advance(Duration::from_secs(1_000_000_000)).await;
    let statuses = control.statuses().into_iter();
    let ends: Vec<_> = statuses.filter(|(id, _)| id.len() == 9 && id.starts_with("900")).collect();
    assert_eq!(ends.len(), 1000);
    for (id, end) in ends {
        let end = end.unwrap();
        assert!(matches!(end.as_str(), "complete" | "abandoned"), "{id}: {end}");
    }
}

#[tokio::test(start_paused = true)]
async fn random_lives_keep_beginning_and_ending_for_two_minutes() {
    let config = SimulateConfig { random: 2000, seed: 7, speed: 10.0, ..Default::default() };
    let control = simulator(config);
    let counts = || {
        let statuses = control.statuses().into_iter().filter(|(id, _)| id.starts_with("9000"));
        let begun: Vec<_> = statuses.filter_map(|(_, status)| status).collect();
        let is_over = |status: &&String| ["complete", "abandoned"].contains(&status.as_str());
        (begun.len(), begun.iter().filter(is_over).count())
    };
    let mut last = counts();
    assert!((500..900).contains(&last.0), "{last:?} have begun, of these are over");
    for _ in 0..12 {
        advance(Duration::from_secs(10)).await;
        let now = counts();
        let (begun, ended) = (now.0 - last.0, now.1 - last.1);
        assert!((50..200).contains(&begun) && (30..200).contains(&ended), "{begun} {ended}");
        last = now;
    }
}
