//! The control API over HTTP, the counters, the quota.

use std::time::Duration;

use gotoassist_grpc::{
    config::{
        SimulateConfig,
        simulate::{RateLimitScope, RetryAfterForm},
    },
    simulator::{Fault, Rule},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::Running;

impl Running {
    pub(super) async fn control(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let url = format!("http://{}/control{path}", self.address);
        let answer = self.client.request(method, url).body(body.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }
}

#[tokio::test]
async fn a_session_is_put_and_deleted_over_http() {
    let simulator = Running::start().await;
    let script = r#"{"steps":[{"at":0,"status":"waiting"}],
                     "fields":{"accountKey":12345678901234567890123,"notes":null}}"#;
    assert_eq!(simulator.control(Method::PUT, "/sessions/a%2Fb", script).await.0, 204);
    let text = simulator.text("/sessions/a%2Fb").await;
    assert!(text.contains(r#""accountKey":12345678901234567890123,"#), "{text}");
    assert!(text.contains(r#""notes":null"#), "{text}");
    let (status, shown) = simulator.control(Method::GET, "/sessions/a%2Fb", "").await;
    assert_eq!((status, &shown["id"]), (200, &"a/b".into()));
    let (_, all) = simulator.control(Method::GET, "/sessions", "").await;
    assert!(all.as_array().unwrap().contains(&json!({ "id": "a/b", "status": "waiting" })));
    assert_eq!(simulator.control(Method::DELETE, "/sessions/a%2Fb", "").await.0, 204);
    assert_eq!(simulator.control(Method::DELETE, "/sessions/a%2Fb", "").await.0, 404);
    assert_eq!(simulator.status("t", "/sessions/a%2Fb").await, 404);
}

#[tokio::test]
async fn nonsense_is_refused_with_the_reason() {
    let simulator = Running::start().await;
    let cases = [
        (Method::PUT, "/sessions/1", r#"{"steps":[]}"#, "earliest step"),
        (Method::PUT, "/sessions/1", r#"{"stepz":[]}"#, "stepz"),
        (Method::POST, "/faults", "explode", "explode"),
        (Method::PATCH, "/settings", r#"{"rateLimitt":1}"#, "rateLimitt"),
        (Method::PUT, "/credentials/t", r#"{"standing":"so-so"}"#, "so-so"),
    ];
    for (method, path, body, reason) in cases {
        let (status, answer) = simulator.control(method, path, body).await;
        assert_eq!(status, 400);
        assert!(answer["error"].as_str().unwrap().contains(reason), "{answer}");
    }
}

#[tokio::test]
async fn faults_and_settings_and_credentials_change_over_http() {
    let simulator = Running::start().await;
    let (_, added) = simulator.control(Method::POST, "/faults", "no-content").await;
    assert_eq!(simulator.status("t", "/sessions/250040304").await, 204);
    let (_, rules) = simulator.control(Method::GET, "/faults", "").await;
    assert_eq!(
        (&rules[0]["struck"], &rules[0]["rule"]["fault"]["kind"]),
        (&1.into(), &"no-content".into())
    );
    let number = &added["number"];
    assert_eq!(simulator.control(Method::DELETE, &format!("/faults/{number}"), "").await.0, 204);

    let patch = r#"{"rateLimit":5,"shape":{"keys":"string"}}"#;
    let (_, settings) = simulator.control(Method::PATCH, "/settings", patch).await;
    assert_eq!(settings, serde_json::to_value(simulator.settings()).unwrap());
    assert_eq!(simulator.settings().rate_limit, 5);
    assert!(simulator.json("/sessions/250040304").await["accountKey"].is_string());
    simulator.control(Method::PATCH, "/settings", r#"{"shape":{"keys":null}}"#).await;
    assert!(simulator.json("/sessions/250040304").await["accountKey"].is_number());

    let refused = r#"{"standing":"refused"}"#;
    assert_eq!(simulator.control(Method::PUT, "/credentials/t9", refused).await.0, 204);
    assert_eq!(simulator.status("t9", "/sessions/250040304").await, 403);
    let links = r#"{"links":[{"systemName":"x"}]}"#;
    assert_eq!(simulator.control(Method::PUT, "/links/d.example", links).await.0, 204);
    let text = simulator.text("/systemLinks?systemDomain=d.example").await;
    assert_eq!(text, r#"[{"systemName":"x"}]"#);

    assert_eq!(simulator.control(Method::POST, "/reset", "").await.0, 204);
    assert_eq!(simulator.settings(), SimulateConfig::on_free_port().settings);
    assert_eq!(simulator.status("t9", "/sessions/250040304").await, 200);
    assert_eq!(simulator.counters().requests, 1);
}

#[tokio::test]
async fn every_request_is_counted() {
    let simulator = Running::start().await;
    for _ in 0..3 {
        simulator.status("t1", "/sessions/250040304").await;
    }
    simulator.status("t2", "/sessions/a%2Fb").await;
    simulator.status("t2", "/systemLinks?systemDomain=x").await;
    let (_, counters) = simulator.control(Method::GET, "/counters", "").await;
    assert_eq!(counters["requests"], 5);
    assert_eq!(counters["bySession"], json!({ "250040304": 3, "a/b": 1 }));
    assert_eq!(counters["byCredential"], json!({ "t1": 3, "t2": 2 }));
    assert_eq!(counters["byStatus"], json!({ "200": 4, "404": 1 }));
    assert_eq!(counters["recent"][3]["target"], "/G2A/rest/v1/sessions/a%2Fb");
    assert_eq!(simulator.control(Method::DELETE, "/counters", "").await.0, 204);
    assert_eq!(simulator.counters().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn the_densest_second_is_counted() {
    let simulator = Running::start().await;
    for pause in [600, 300, 300, 1000, 999, 0] {
        simulator.status("t", "/sessions/250040304").await;
        tokio::time::advance(Duration::from_millis(pause)).await;
    }
    assert_eq!(simulator.counters().max_per_second, 3);
}

#[tokio::test(start_paused = true)]
async fn the_eleventh_request_in_a_second_is_429() {
    let mut config = SimulateConfig::on_free_port();
    config.settings.rate_limit = 10;
    config.settings.rate_limit_retry_after = RetryAfterForm::Seconds;
    let simulator = Running::with(config).await;
    let ten = (0..10).map(|_| simulator.status("t", "/sessions/250040304"));
    let statuses = futures_util::future::join_all(ten).await;
    assert_eq!(statuses, [200; 10]);
    let (bytes, _) = simulator.raw("/sessions/250040304", |bytes| bytes.ends_with(b"}")).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 429 Rate limit quota\r\n"), "{text}");
    assert!(text.contains("retry-after: 1\r\n"), "{text}");
    assert_eq!(simulator.control(Method::GET, "/settings", "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn the_quota_is_there_again_after_a_second() {
    let mut config = SimulateConfig::on_free_port();
    config.settings.rate_limit = 2;
    let simulator = Running::with(config).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(simulator.status("t", "/sessions/250040304").await);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    statuses.push(simulator.status("t", "/sessions/250040304").await);
    assert_eq!(statuses, [200, 200, 429, 200]);
}

#[tokio::test(start_paused = true)]
async fn each_credential_can_have_a_quota_of_its_own() {
    let mut config = SimulateConfig::on_free_port();
    config.settings.rate_limit = 2;
    config.settings.rate_limit_scope = RateLimitScope::Credential;
    let simulator = Running::with(config).await;
    let mut statuses = Vec::new();
    for token in ["t1", "t1", "t1", "t2"] {
        statuses.push(simulator.status(token, "/sessions/250040304").await);
    }
    assert_eq!(statuses, [200, 200, 429, 200]);
    let counters = simulator.counters();
    assert_eq!(counters.max_per_second_by_credential, [("t1".into(), 3), ("t2".into(), 1)].into());
}

#[tokio::test]
async fn every_answer_carries_an_id_of_its_own() {
    let simulator = Running::start().await;
    simulator
        .add_fault(r#"{"fault":{"kind":"status","status":500},"skip":1}"#.parse::<Rule>().unwrap());
    for (number, status) in [(1, 200), (2, 500)] {
        let answer = simulator.get("/sessions/250040304").await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        let id = answer.headers()["x-amzn-requestid"].to_str().unwrap();
        assert_eq!(id, format!("00000000-0000-4000-8000-{number:012}"));
    }
}

#[tokio::test]
async fn wrong_routes_and_methods_answer_like_the_vendor() {
    let simulator = Running::start().await;
    for path in ["/nothing", "/sessions/", "/sessions/1/2", "/systemLinks/1"] {
        let answer = simulator.get(path).await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert!(answer.text().await.unwrap().starts_with(r#"{"errorCode":"NOT_FOUND","message""#));
    }
    let post = simulator.client.post(format!("{}/sessions/1", simulator.rest_url));
    assert_eq!(post.bearer_auth("t").send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn faults_can_be_there_from_the_start() {
    let faults = vec![r#"{"fault":{"kind":"no-content"},"times":1}"#.into(), "html".into()];
    let simulator =
        Running::with(SimulateConfig { faults, ..SimulateConfig::on_free_port() }).await;
    assert_eq!(simulator.status("t", "/sessions/250040304").await, 204);
    assert!(simulator.text("/sessions/250040304").await.starts_with("<!DOCTYPE"));
    simulator.clear_faults();
    assert!(simulator.text("/sessions/250040304").await.starts_with('{'));
    simulator.reset();
    assert_eq!(simulator.faults()[1].1, Rule::from(Fault::Html));
}
