//! The list of sessions as it might be: behind, incomplete, wrong, in pages, heavy, slow.

use std::time::Duration;

use gotoassist_grpc::{
    config::{
        SimulateConfig, from_flags,
        simulate::{KeyForm, ListSettings, PageForm, StatusForm},
    },
    simulator::{Rule, SessionScript},
};
use reqwest::Method;
use serde_json::json;
use tokio::time::advance;

use super::{
    Running,
    list::{day, find, ids, window},
};

impl Running {
    /// A simulator with active sessions of these ids, which started at noon.
    async fn active(ids: impl IntoIterator<Item = u32>) -> Self {
        let simulator = Self::empty().await;
        for id in ids {
            simulator.put(SessionScript::resting(id.to_string(), "active"));
        }
        simulator
    }

    fn change_list(&self, change: impl FnOnce(&mut ListSettings)) {
        self.change_settings(|settings| change(&mut settings.list));
    }

    /// The ids in the list while a rule with this fault applies.
    async fn struck(&self, fault: &str) -> Vec<String> {
        let rule = format!(r#"{{"fault":{fault},"route":"session-list","times":1}}"#);
        self.add_fault(rule.parse::<Rule>().unwrap());
        ids(&self.list().await)
    }
}

#[test]
fn flags_set_what_the_control_api_calls_list() {
    let config: SimulateConfig = from_flags([
        "--list-lag=5s",
        "--list-missing=0.5",
        "--list-doubled=0.25",
        "--list-mixed=1",
        "--list-foreign",
        "--list-extra=7",
        "--list-page-size=8",
        "--list-pages=ignored",
        "--list-session-ids=string",
        "--list-unstarted-ids",
        "--list-delay=1m",
        "--list-duration=100ms",
    ])
    .unwrap();
    let expected = json!({
        "lag": 5.0, "missing": 0.5, "doubled": 0.25, "mixed": 1.0, "foreign": true, "extra": 7,
        "pageSize": 8, "pages": "ignored", "sessionIds": "string", "unstartedIds": true,
        "delay": 60.0, "duration": 0.1,
    });
    assert_eq!(serde_json::to_value(config.settings).unwrap()["list"], expected);
    assert!(from_flags::<SimulateConfig>(["--list-missing=1.5"]).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_list_can_lag_behind_the_single_call() {
    let simulator = Running::empty().await;
    let patch = r#"{"list":{"lag":5}}"#;
    assert_eq!(simulator.control(Method::PATCH, "/settings", patch).await.0, 200);
    simulator.put(SessionScript::new("1").step(0.0, "waiting").step(10.0, "active"));
    let mut seen = Vec::new();
    for _ in 0..3 {
        advance(Duration::from_secs(5)).await;
        let single = simulator.json("/sessions/1").await["status"].clone();
        seen.push((single, simulator.list().await["sessions"][0]["status"].clone()));
    }
    let expected = [("waiting", "waiting"), ("active", "waiting"), ("active", "active")];
    assert_eq!(seen, expected.map(|(one, other)| (json!(one), json!(other))));
    // What did not exist then is not in it.
    simulator.put(SessionScript::resting("2", "active"));
    assert_eq!(ids(&simulator.list().await), ["1"]);
    assert_eq!(simulator.struck(r#"{"kind":"stale","seconds":60}"#).await, [""; 0]);
}

#[tokio::test]
async fn the_same_share_of_sessions_is_missing_for_the_same_seed() {
    let missing = async |seed| {
        let clock = Some("2026-01-02T12:00:00Z".parse().unwrap());
        let config = SimulateConfig { seed, clock, ..SimulateConfig::on_free_port() };
        let simulator = Running::with(config).await;
        (0..1000).for_each(|id| simulator.put(SessionScript::resting(id.to_string(), "active")));
        simulator.change_list(|list| list.missing = 0.5);
        let list = simulator.list().await;
        assert_eq!(list, simulator.list().await);
        assert_eq!(list["totalNumSessions"], ids(&list).len());
        // The single call knows them.
        assert_eq!(simulator.status("t", "/sessions/1").await, 200);
        ids(&list)
    };
    let one = missing(1).await;
    assert!((400..600).contains(&one.len()), "{}", one.len());
    assert_ne!(one, missing(2).await);
    let simulator = Running::active(1..4).await;
    simulator.change_list(|list| list.missing = 1.0);
    assert_eq!(ids(&simulator.list().await), [""; 0]);
}

#[tokio::test]
async fn elements_can_be_doubled() {
    let simulator = Running::active(1..4).await;
    simulator.change_list(|list| list.doubled = 1.0);
    let list = simulator.list().await;
    assert_eq!(
        (&list["totalNumSessions"], ids(&list)),
        (&json!(6), ["1", "1", "2", "2", "3", "3"].map(String::from).into())
    );
    simulator.change_list(|list| list.doubled = 0.0);
    assert_eq!(ids(&simulator.list().await), ["1", "2", "3"]);
}

#[tokio::test]
async fn two_sessions_can_be_mixed_in_one_element() {
    let simulator = Running::active([1]).await;
    let before = simulator.list().await;
    simulator.change_list(|list| list.mixed = 1.0);
    assert_eq!(simulator.list().await, before, "one session cannot be mixed");
    let other = SessionScript::new("2").step(0.0, "waiting").step(0.0, "complete");
    simulator.put(other.field("accountKey", 7));
    let list = simulator.list().await;
    let (first, second) = (find(&list, "1"), find(&list, "2"));
    assert_eq!((&first["status"], &first["accountKey"]), (&json!("complete"), &json!(7)));
    assert!(
        first["endedAt"].is_string() && first["customerJoinUrl"].as_str().unwrap().ends_with("=1")
    );
    assert_eq!((&second["status"], second.get("endedAt")), (&json!("active"), None));
    assert_eq!(first["sessionStartToken"], before["sessions"][0]["sessionStartToken"]);
}

#[tokio::test]
async fn sessions_of_other_accounts_can_be_in_the_list() {
    let simulator = Running::active([1, 2]).await;
    simulator.put(SessionScript::resting("3", "active").visible_to(&["alice"]));
    simulator.put(SessionScript::resting("4", "active").visible_to(&["bob"]));
    assert_eq!(ids(&simulator.list().await), ["1", "2"]);
    assert_eq!(simulator.struck(r#"{"kind":"foreign-session","id":"4"}"#).await, ["1", "2", "4"]);
    simulator.change_list(|list| list.foreign = true);
    assert_eq!(ids(&simulator.list().await), ["1", "2", "3", "4"]);
    assert_eq!(simulator.status("any-token", "/sessions/4").await, 404);
}

#[tokio::test]
async fn a_list_can_have_pages() {
    let simulator = Running::active(1..=7).await;
    simulator.change_list(|list| (list.page_size, list.extra) = (3, 1));
    let page = async |number: &str| {
        let list = simulator.json(&format!("{}{number}", day())).await;
        assert_eq!(list["totalNumSessions"], 8);
        ids(&list)
    };
    assert_eq!(page("").await, ["800000000", "1", "2"]);
    assert_eq!(page("&page=1").await, page("").await);
    assert_eq!(page("&page=2").await, ["3", "4", "5"]);
    assert_eq!(page("&page=3").await, ["6", "7"]);
    assert_eq!(page("&page=4").await, [""; 0]);
    simulator.change_list(|list| list.pages = PageForm::Ignored);
    assert_eq!(page("&page=2").await, page("").await);
    assert_eq!(page("&page=none").await, page("").await);
}

#[tokio::test]
async fn a_list_can_be_megabytes_long() {
    let simulator = Running::active([1]).await;
    simulator.change_list(|list| list.extra = 25_000);
    let text = simulator.text(&day()).await;
    assert!((10_000_000..12_000_000).contains(&text.len()), "{}", text.len());
    let list = serde_json::from_str(&text).unwrap();
    let ids = ids(&list);
    assert_eq!((ids.len(), &*ids[25_000]), (25_001, "1"));
    assert_eq!(simulator.status("t", "/sessions/800000000").await, 404);
    let field = r#"{"fault":{"kind":"oversized","bytes":3000000},"route":"session-list"}"#;
    simulator.add_fault(field.parse::<Rule>().unwrap());
    simulator.change_list(|list| list.extra = 0);
    let list = simulator.list().await;
    assert_eq!((list["padding"].as_str().unwrap().len(), self::ids(&list).len()), (3_000_000, 1));
}

#[tokio::test(start_paused = true)]
async fn a_list_can_begin_late_and_come_slowly() {
    let simulator = Running::active(1..20).await;
    simulator.change_list(|list| (list.delay, list.duration) = (5.0, 10.0));
    let begin = tokio::time::Instant::now();
    let seconds = || begin.elapsed().as_millis() / 1000;
    let mut answer = simulator.get(&day()).await.unwrap();
    assert_eq!(seconds(), 5);
    let (mut pieces, mut body) = (0, Vec::new());
    while let Some(piece) = answer.chunk().await.unwrap() {
        pieces += 1;
        body.extend(piece);
    }
    assert_eq!(seconds(), 15);
    assert!(pieces > 50, "{pieces}");
    assert_eq!(ids(&serde_json::from_slice(&body).unwrap()).len(), 19);
    // The single call is as fast as ever.
    assert_eq!(simulator.status("t", "/sessions/1").await, 200);
    assert_eq!(seconds(), 15);
}

#[tokio::test]
async fn ids_in_a_list_can_be_text() {
    let simulator = Running::active([1]).await;
    simulator.put(SessionScript::resting("SS-2", "active"));
    let list = simulator.list().await;
    assert_eq!(
        (&list["sessions"][0]["sessionId"], &list["sessions"][1]["sessionId"]),
        (&json!(1), &json!("SS-2"))
    );
    simulator.change_list(|list| list.session_ids = KeyForm::String);
    let list = simulator.list().await;
    assert_eq!(list["sessions"][0]["sessionId"], "1");
    assert!(list["sessions"][0]["sessionStartToken"].is_string());
    // A rule wins, also over what was sent before.
    assert_eq!(simulator.struck(r#"{"kind":"shape","sessionIds":"number"}"#).await, ["1", "SS-2"]);
}

#[tokio::test]
async fn shapes_apply_to_the_list() {
    let simulator = Running::active([1]).await;
    let first = async || simulator.list().await["sessions"][0].clone();
    assert_eq!(first().await["status"], "active");
    simulator.change_settings(|settings| {
        settings.shape.statuses = Some(StatusForm::Upper);
        settings.shape.keys = Some(KeyForm::String);
        settings.shape.unknown_fields = Some(true);
        settings.shape.new_join_url = Some(true);
    });
    let (one, other) = (first().await, first().await);
    assert_eq!(
        (&one["status"], &one["accountKey"]),
        (&json!("ACTIVE"), &json!("1842200297248054807"))
    );
    assert!(one["survey"].is_object() && one["sessionStartToken"].is_u64(), "{one}");
    assert_ne!(one["customerJoinUrl"], other["customerJoinUrl"]);
    simulator.change_settings(|settings| settings.shape.compress = Some(true));
    assert_eq!(first().await["status"], "ACTIVE");
}

#[tokio::test]
async fn rules_apply_to_the_list() {
    let simulator = Running::active([1, 2]).await;
    let tell = |fault: &str, route: &str| {
        let rule = format!(r#"{{"fault":{fault},"route":"{route}","times":1}}"#);
        simulator.add_fault(rule.parse::<Rule>().unwrap());
    };
    for status in [401, 403, 404, 405, 429, 503] {
        tell(&format!(r#"{{"kind":"status","status":{status}}}"#), "session-list");
        assert_eq!(simulator.status("t", "/sessions/1").await, 200);
        assert_eq!(simulator.status("t", &day()).await, status);
        assert_eq!(simulator.status("t", &day()).await, 200);
    }
    tell(r#"{"kind":"no-content"}"#, "rest");
    assert_eq!(simulator.status("t", &day()).await, 204);
    tell(r#"{"kind":"no-content"}"#, "sessions");
    assert_eq!(simulator.status("t", &day()).await, 200);
    tell(r#"{"kind":"half-session"}"#, "session-list");
    let half =
        json!([{ "sessionId": 1, "status": "active" }, { "sessionId": 2, "status": "active" }]);
    assert_eq!(simulator.list().await, json!({ "totalNumSessions": 2, "sessions": half }));
    tell(r#"{"kind":"hollow-session"}"#, "session-list");
    assert_eq!(simulator.list().await["sessions"], json!([{ "sessionId": 1 }, { "sessionId": 2 }]));
    tell(r#"{"kind":"fields","fields":{"sessions":null}}"#, "session-list");
    assert_eq!(simulator.list().await, json!({ "totalNumSessions": 2, "sessions": null }));
}

#[tokio::test]
async fn all_random_lives_are_in_the_list() {
    let config = SimulateConfig {
        random: 2000,
        clock: Some("2026-01-02T12:00:00Z".parse().unwrap()),
        ..SimulateConfig::on_free_port()
    };
    let simulator = Running::with(config).await;
    let begun = simulator.statuses().into_iter().filter(|(_, status)| status.is_some()).count();
    let list = simulator.json(&window("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z")).await;
    // Some may have begun since.
    let difference = ids(&list).len() - begun;
    assert!(begun > 500 && difference < 10, "{begun} {difference}");
}
