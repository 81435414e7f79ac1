//! The list of sessions: its window, its order, its elements, and what it costs.

use std::time::{Duration, Instant};

use gotoassist_grpc::{config::SimulateConfig, simulator::SessionScript};
use serde_json::{Value, json};

use super::Running;

/// The time on the clock of [`Running::empty`].
const NOON: &str = "2026-01-02T12:00:00Z";

impl Running {
    /// A simulator whose clock shows [`NOON`], and which has no sessions.
    pub(super) async fn empty() -> Self {
        let clock = Some(NOON.parse().unwrap());
        let simulator =
            Self::with(SimulateConfig { clock, ..SimulateConfig::on_free_port() }).await;
        for (id, _) in simulator.statuses() {
            simulator.delete_session(&id);
        }
        simulator
    }

    pub(super) fn put(&self, script: SessionScript) {
        self.put_session(script).unwrap();
    }

    /// The list of a wide window.
    pub(super) async fn list(&self) -> Value {
        self.json(&day()).await
    }
}

/// The path of a list.
pub(super) fn window(from: &str, to: &str) -> String {
    format!("/sessions?sessionType=SCREEN_SHARING&fromTime={from}&toTime={to}")
}

/// The path of the list of the day before and after [`NOON`].
pub(super) fn day() -> String {
    window("2026-01-01T12:00:00Z", "2026-01-03T12:00:00Z")
}

/// The session ids in a list, as text.
pub(super) fn ids(list: &Value) -> Vec<String> {
    let id = |session: &Value| session["sessionId"].to_string().trim_matches('"').to_owned();
    list["sessions"].as_array().unwrap().iter().map(id).collect()
}

/// The session with this id in a list.
pub(super) fn find<'a>(list: &'a Value, id: &str) -> &'a Value {
    let sessions = list["sessions"].as_array().unwrap();
    &sessions[ids(list).iter().position(|known| known == id).unwrap()]
}

#[tokio::test]
async fn an_element_has_the_documented_fields_in_their_order() {
    let simulator = Running::start().await;
    let now = simulator.get("/sessions/250040353").await.unwrap().headers()["date"].clone();
    let date = httpdate::parse_http_date(now.to_str().unwrap()).unwrap();
    let (from, to) = (date - Duration::from_hours(2), date + Duration::from_secs(9));
    let iso = |time| humantime::format_rfc3339_seconds(time).to_string();
    let text = simulator.text(&window(&iso(from), &iso(to))).await;
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["totalNumSessions"], list["sessions"].as_array().unwrap().len());
    let element = find(&list, "250040353");
    let single = simulator.json("/sessions/250040353").await;
    let names = [
        "sessionStartToken",
        "customerJoinUrl",
        "sessionId",
        "sessionType",
        "partnerObject",
        "partnerObjectUrl",
        "status",
        "startedAt",
        "customerJoinedAt",
        "endedAt",
        "expertName",
        "expertEmail",
        "expertUserKey",
        "customerName",
        "customerEmail",
        "accountKey",
        "sessionRecordingUrl",
    ];
    for name in &names {
        match *name {
            "sessionId" => assert_eq!(element[name], 250_040_353),
            _ => assert_eq!(element[name], single[name], "{name}"),
        }
    }
    assert_eq!(element.as_object().unwrap().len(), names.len(), "{element}");
    let (_, element) = text.split_once(r#"{"sessionStartToken":"start-token""#).unwrap();
    let places: Vec<_> =
        names[1..].iter().map(|name| element.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn an_unstarted_session_has_a_token_and_no_id() {
    let simulator = Running::empty().await;
    simulator.put(SessionScript::resting("1", "notStarted"));
    simulator.put(SessionScript::resting("2", "waiting"));
    let mut named = SessionScript::resting("3", "notStarted");
    named.token = Some("77".into());
    simulator.put(named);
    let list = simulator.list().await;
    let sessions = list["sessions"].as_array().unwrap();
    for (session, status) in sessions.iter().zip(["notStarted", "waiting", "notStarted"]) {
        assert_eq!(session["status"], status);
        assert_eq!(session.get("sessionId").is_some(), status == "waiting", "{session}");
        // The session can be asked for by the token.
        let token = session["sessionStartToken"].as_u64().unwrap();
        assert_eq!(simulator.json(&format!("/sessions/{token}")).await["status"], status);
    }
    assert_eq!(sessions[2]["sessionStartToken"], 77);
    assert!(sessions[0]["sessionStartToken"].as_u64().unwrap() > 1 << 53);

    simulator.change_settings(|settings| settings.list.unstarted_ids = true);
    let list = simulator.list().await;
    assert_eq!(ids(&list), ["1", "2", "null"]);
}

#[tokio::test(start_paused = true)]
async fn the_window_holds_what_starts_within_it() {
    let simulator = Running::empty().await;
    simulator.put(SessionScript::new("4").step(-90.0, "notStarted").step(-30.0, "waiting"));
    simulator.put(SessionScript::new("3").step(-60.0, "notStarted"));
    simulator.put(SessionScript::new("2").step(-60.0, "active").step(-10.0, "complete"));
    simulator.put(SessionScript::new("1").step(-20.0, "waiting").step(-10.0, "abandoned"));
    simulator.put(SessionScript::new("0").step(5.0, "waiting"));
    simulator.change_settings(|settings| settings.list.unstarted_ids = true);
    let within = async |from: &str, to: &str| {
        let times = [from, to].map(|time| format!("2026-01-02T{time}Z"));
        ids(&simulator.json(&window(&times[0], &times[1])).await)
    };
    // By the start, or the creation of what is not started, and then by id.
    assert_eq!(within("11:00:00", "13:00:00").await, ["2", "3", "4", "1"]);
    // Both ends belong to the window.
    assert_eq!(within("11:59:30", "11:59:40").await, ["4", "1"]);
    assert_eq!(within("11:59:31", "11:59:39").await, [""; 0]);
    assert_eq!(within("11:59:00.5", "11:59:00.75").await, ["2", "3"]);
    assert_eq!(within("13:00:00", "11:00:00").await, [""; 0]);
    let offset = window("2026-01-02T13:59:30%2B02:00", "2026-01-02T11:59:40Z");
    assert_eq!(ids(&simulator.json(&offset).await), ["4", "1"]);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(within("12:00:05", "12:00:05").await, ["0"]);
    // A session leaves the list with its retention.
    simulator.change_settings(|settings| settings.retention = 15.0);
    assert_eq!(within("11:00:00", "13:00:00").await, ["3", "4", "0"]);
}

#[tokio::test]
async fn a_list_needs_its_type_and_its_times() {
    let simulator = Running::empty().await;
    let (from, to) = ("fromTime=2016-10-31T08:30:00Z", "toTime=2016-10-31T08:30:00Z");
    let refused = [
        "/sessions".to_owned(),
        format!("/sessions?{from}&{to}"),
        format!("/sessions?sessionType=&{from}&{to}"),
        format!("/sessions?sessionType=phone&{from}&{to}"),
        format!("/sessions?sessionType=SCREEN_SHARING&{from}"),
        format!("/sessions?sessionType=SCREEN_SHARING&{to}"),
        format!("/sessions?sessionType=SCREEN_SHARING&fromTime=yesterday&{to}"),
        format!("/sessions?sessionType=SCREEN_SHARING&{from}&toTime=2016-10-31"),
        format!("/sessions?sessionType=SCREEN_SHARING&{from}&{to}&page=two"),
    ];
    for path in refused {
        let answer = simulator.get(&path).await.unwrap();
        assert_eq!(answer.status(), 400, "{path}");
        assert!(answer.text().await.unwrap().starts_with(r#"{"errorCode":"InvalidRequest""#));
    }
    let lower = format!("/sessions?sessionType=screen_sharing&{from}&{to}");
    assert_eq!(simulator.text(&lower).await, r#"{"totalNumSessions":0,"sessions":[]}"#);
    for (token, status) in [("bad-token", 403), ("no-seat-token", 401)] {
        assert_eq!(simulator.status(token, &lower).await, status);
    }
    let post = simulator.client.post(format!("{}/sessions", simulator.rest_url));
    assert_eq!(post.bearer_auth("t").send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_token_lists_only_the_sessions_that_it_may_see() {
    let simulator = Running::empty().await;
    simulator.put(SessionScript::resting("1", "active").visible_to(&["alice"]));
    simulator.put(SessionScript::resting("2", "active").visible_to(&["bob", "alice"]));
    simulator.put(SessionScript::resting("3", "active"));
    for (token, expected) in [("alice", &["1", "2", "3"][..]), ("bob", &["2", "3"]), ("x", &["3"])]
    {
        let answer = simulator.get_as(token, &day()).await.unwrap();
        let list: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(
            (ids(&list), &list["totalNumSessions"]),
            (expected.iter().map(ToString::to_string).collect(), &expected.len().into())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_element_follows_its_session() {
    let simulator = Running::empty().await;
    simulator.put(SessionScript::walking("1", 10.0).later(35.0, "sessionRecordingUrl", "late"));
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(simulator.list().await["sessions"][0].clone());
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    let statuses: Vec<_> = seen.iter().map(|session| session["status"].as_str().unwrap()).collect();
    let expected = ["notStarted", "waiting", "active", "complete"];
    assert_eq!(statuses, expected.map(|status| [status; 2]).concat());
    assert_eq!(
        (&seen[6].get("sessionRecordingUrl"), &seen[7]["sessionRecordingUrl"]),
        (&None, &json!("late"))
    );
    // A new session with the same id is not mistaken for the old one.
    simulator.put(SessionScript::resting("1", "abandoned"));
    assert_eq!(simulator.list().await["sessions"][0]["status"], "abandoned");
}

#[tokio::test(start_paused = true)]
async fn a_list_is_one_request_of_the_quota_and_counted_apart() {
    let simulator = Running::empty().await;
    simulator.change_settings(|settings| settings.rate_limit = 2);
    let mut statuses = Vec::new();
    for path in [&*day(), "/sessions/1", &day(), &day()] {
        statuses.push(simulator.status("t", path).await);
    }
    assert_eq!(statuses, [200, 404, 429, 429]);
    let counters = simulator.counters();
    assert_eq!((counters.requests, counters.list_requests), (4, 3));
    assert_eq!(counters.by_session, [("1".into(), 1)].into());
    let target = format!("/G2A/rest/v1{}", day());
    assert_eq!(counters.recent[0].target, target);
}

#[tokio::test]
async fn a_list_of_20_000_sessions_costs_little() {
    let simulator = Running::empty().await;
    let put = Instant::now();
    for id in 0..20_000 {
        simulator.put(SessionScript::resting(id.to_string(), "active"));
    }
    assert!(put.elapsed() < Duration::from_secs(20), "{:?}", put.elapsed());
    let first = simulator.text(&day()).await;
    assert!(first.starts_with(r#"{"totalNumSessions":20000,"#));
    let again = Instant::now();
    assert_eq!(simulator.text(&day()).await, first);
    // In a debug build on a busy machine; a release build takes some milliseconds.
    assert!(again.elapsed() < Duration::from_secs(5), "{:?}", again.elapsed());
}
