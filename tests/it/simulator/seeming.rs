//! Misleading answers, as the table in docs/simulator.md lists them.

use std::io::Read;

use flate2::read::{GzDecoder, MultiGzDecoder};
use gotoassist_grpc::{
    config::{
        SimulateConfig,
        simulate::{EncodingForm, Shape, StatusForm},
    },
    simulator::{Rule, SessionScript},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::Running;

const PATH: &str = "/sessions/250040303";
const LINKS: &str = "/systemLinks?systemDomain=one.example.com";

/// A simulator with a rule, which was set over HTTP.
async fn told(rule: &str) -> Running {
    let simulator = Running::start().await;
    let (status, answer) = simulator.control(Method::POST, "/faults", rule).await;
    assert_eq!(status, 200, "{answer}");
    simulator
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn objects_that_are_no_session_come_with_200() {
    let cases = [
        ("maintenance", json!({ "message": "Service is under maintenance" })),
        ("empty-object", json!({})),
        ("null", Value::Null),
        ("error-object", json!({ "int_err_code": "InvalidToken", "msg": "Invalid token passed" })),
        (
            r#"{"fault":{"kind":"error-object","body":"route","code":"NOT_FOUND"}}"#,
            json!({ "errorCode": "NOT_FOUND", "message": "Simulated fault" }),
        ),
        (
            r#"{"fault":{"kind":"maintenance","message":"Back at \"ten\""}}"#,
            json!({ "message": "Back at \"ten\"" }),
        ),
    ];
    for (rule, expected) in cases {
        let simulator = told(rule).await;
        assert_eq!(simulator.json(PATH).await, expected);
        assert_eq!(simulator.json(LINKS).await, expected);
    }
    let rule = r#"{"fault":{"kind":"error-object","body":"product","code":"NotFound"}}"#;
    let error = told(rule).await.json(PATH).await;
    assert_eq!(error["errorCode"], "NotFound");
    assert_eq!(names(&error), ["description", "errorCode", "incident"]);
}

#[tokio::test]
async fn the_next_answers_for_one_session_are_struck_and_no_others() {
    let rule = r#"{"fault":{"kind":"maintenance"},"sessionId":"250040303","times":2}"#;
    let simulator = told(rule).await;
    assert!(simulator.json(PATH).await.get("status").is_none());
    assert_eq!(simulator.json("/sessions/250040304").await["status"], "complete");
    assert!(simulator.json(PATH).await.get("status").is_none());
    assert_eq!(simulator.json(PATH).await["status"], "active");
}

#[tokio::test]
async fn an_answer_is_struck_with_a_probability() {
    let rule = r#"{"fault":{"kind":"foreign-session"},"probability":0.5,"seed":7}"#;
    let simulator = told(rule).await;
    let mut foreign = 0;
    for _ in 0..60 {
        foreign += u32::from(simulator.json(PATH).await["sessionId"] != "250040303");
    }
    assert!((15..45).contains(&foreign), "{foreign} of 60");
}

#[tokio::test]
async fn a_foreign_session_is_a_whole_one_of_somebody_else() {
    let simulator = told("foreign-session").await;
    let stranger = simulator.json(PATH).await;
    assert_eq!(
        (&stranger["sessionId"], &stranger["status"]),
        (&json!("250040399"), &"complete".into())
    );
    assert_eq!(stranger["customerName"], "Sam Stranger");
    simulator.clear_faults();
    let own = simulator.json(PATH).await;
    for field in ["accountKey", "expertUserKey", "customerName", "customerEmail"] {
        assert!(own[field] != stranger[field] && !own[field].is_null(), "{field}");
    }
}

#[tokio::test]
async fn a_foreign_session_can_be_named_even_if_it_must_not_be_seen() {
    let rule = r#"{"fault":{"kind":"foreign-session","id":"77"},"sessionId":"250040303"}"#;
    let simulator = told(rule).await;
    let script = SessionScript::resting("77", "abandoned").visible_to(&["nobody"]);
    simulator.put_session(script).unwrap();
    assert_eq!(simulator.json(PATH).await["sessionId"], "77");
    assert_eq!(simulator.status("t", "/sessions/77").await, 404);
    assert!(simulator.delete_session("77"));
    assert_eq!(simulator.status("t", PATH).await, 404);
}

#[tokio::test]
async fn half_a_session_and_a_hollow_one_lack_the_rest() {
    let half = told("half-session").await.json(PATH).await;
    assert_eq!(half, json!({ "sessionId": "250040303", "status": "active" }));
    let simulator = told("hollow-session").await;
    assert_eq!(simulator.text(PATH).await, r#"{"sessionId":"250040303"}"#);
    // The fault does not change answers that are not sessions.
    assert!(simulator.json(LINKS).await[0]["callbackURL"].is_string());
    assert_eq!(simulator.status("t", "/sessions/none").await, 404);
}

#[tokio::test]
async fn a_status_comes_in_other_letters() {
    let forms = [
        ("pascal", "NotStarted", "Active"),
        ("upper-snake", "NOT_STARTED", "ACTIVE"),
        ("kebab", "not-started", "active"),
        ("snake", "not_started", "active"),
        ("upper", "NOTSTARTED", "ACTIVE"),
        ("lower", "notstarted", "active"),
        ("spaced", "Not Started", "Active"),
    ];
    for (form, not_started, active) in forms {
        let rule = format!(r#"{{"fault":{{"kind":"shape","statuses":"{form}"}}}}"#);
        let simulator = told(&rule).await;
        assert_eq!(simulator.json("/sessions/250040301").await["status"], not_started);
        assert_eq!(simulator.json(PATH).await["status"], active);
    }
}

#[tokio::test]
async fn any_shape_can_be_that_of_the_next_answers_only() {
    let rule =
        r#"{"fault":{"kind":"shape","timestamps":"epoch-seconds","keys":"string"},"times":1}"#;
    let simulator = told(rule).await;
    let session = simulator.json(PATH).await;
    assert!(session["startedAt"].is_i64() && session["accountKey"].is_string(), "{session}");
    let session = simulator.json(PATH).await;
    assert!(session["startedAt"].is_string() && session["accountKey"].is_number(), "{session}");
    // A rule takes precedence over the session's own shape, which takes precedence over the
    // settings.
    let own = Shape { statuses: Some(StatusForm::Kebab), ..Shape::default() };
    let script = SessionScript { shape: own, ..SessionScript::resting("1", "notStarted") };
    simulator.put_session(script).unwrap();
    simulator.change_settings(|settings| settings.shape.statuses = Some(StatusForm::Upper));
    assert_eq!(simulator.json("/sessions/1").await["status"], "not-started");
    let rule = r#"{"fault":{"kind":"shape","statuses":"pascal"}}"#;
    simulator.add_fault(rule.parse::<Rule>().unwrap());
    assert_eq!(simulator.json("/sessions/1").await["status"], "NotStarted");
}

#[tokio::test]
async fn times_can_fall() {
    let simulator = told(r#"{"fault":{"kind":"shape","fallingTimes":true}}"#).await;
    for id in ["250040304", "250040305"] {
        let session = simulator.json(&format!("/sessions/{id}")).await;
        let times: Vec<_> = ["startedAt", "customerJoinedAt", "endedAt"]
            .into_iter()
            .filter_map(|name| session.get(name)?.as_str())
            .collect();
        assert!(times.len() >= 2 && times.windows(2).all(|pair| pair[0] > pair[1]), "{times:?}");
    }
}

#[tokio::test]
async fn a_join_url_can_be_new_in_every_answer() {
    let simulator = told(r#"{"fault":{"kind":"shape","newJoinUrl":true}}"#).await;
    simulator
        .put_session(SessionScript::resting("1", "active").raw_field("customerJoinUrl", "null"))
        .unwrap();
    let (mut first, mut second) = (simulator.json(PATH).await, simulator.json(PATH).await);
    let url = first["customerJoinUrl"].as_str().unwrap();
    assert!(url.starts_with("https://www.fastsupport.example/?join=250040303&t="), "{url}");
    assert_ne!(first["customerJoinUrl"].take(), second["customerJoinUrl"].take());
    assert_eq!(first, second);
    assert!(simulator.json("/sessions/1").await["customerJoinUrl"].is_null());
}

#[tokio::test]
async fn a_mebibyte_of_unknown_fields_is_a_body_that_may_be_read() {
    let text = told("many-unknown-fields").await.text(PATH).await;
    assert!((990_000..1 << 20).contains(&text.len()), "{}", text.len());
    let session: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(session["status"], "active");
    assert!(names(&session).len() > 100 && session["unknown0000"].as_array().unwrap().len() > 4000);
    for (bytes, numbers) in [(0, 1), (100, 42)] {
        let rule = format!(r#"{{"fault":{{"kind":"many-unknown-fields","bytes":{bytes}}}}}"#);
        let few = told(&rule).await.json(PATH).await;
        assert_eq!(few["unknown0000"].as_array().unwrap().len(), numbers);
    }
}

#[tokio::test]
async fn gzip_has_several_names_and_members() {
    let simulator = Running::start().await;
    let plain = simulator.text(PATH).await;
    let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
    let url = format!("{}{PATH}", simulator.rest_url);
    let ask = async |encoding, accepted: &str| {
        simulator.change_settings(|settings| settings.shape.encoding = Some(encoding));
        let request = client.get(&url).bearer_auth("t").header("accept-encoding", accepted);
        let answer = request.send().await.unwrap();
        let name = answer.headers().get("content-encoding").cloned();
        (name, answer.bytes().await.unwrap().to_vec())
    };
    let forms = [
        (EncodingForm::Gzip, "gzip"),
        (EncodingForm::UpperGzip, "GZIP"),
        (EncodingForm::XGzip, "x-gzip"),
        (EncodingForm::GzipMembers, "gzip"),
    ];
    for (form, expected) in forms {
        let (name, packed) = ask(form, "gzip, zstd").await;
        assert_eq!(name.unwrap(), expected);
        let (mut first, mut whole) = (String::new(), String::new());
        GzDecoder::new(&packed[..]).read_to_string(&mut first).unwrap();
        MultiGzDecoder::new(&packed[..]).read_to_string(&mut whole).unwrap();
        assert_eq!(whole, plain);
        assert_eq!(first == plain, form != EncodingForm::GzipMembers, "{form:?}");
    }
    let (name, body) = ask(EncodingForm::Identity, "gzip").await;
    assert_eq!((name.unwrap(), body), ("identity".parse().unwrap(), plain.clone().into_bytes()));
    assert_eq!(ask(EncodingForm::XGzip, "br").await, (None, plain.into_bytes()));
}

#[tokio::test]
async fn a_firewall_refuses_once() {
    let rule = r#"{"fault":{"kind":"status","status":403,"body":"html"},"times":1}"#;
    let simulator = told(rule).await;
    let refused = simulator.get(PATH).await.unwrap();
    assert_eq!(
        (refused.status(), &refused.headers()["content-type"]),
        (reqwest::StatusCode::FORBIDDEN, &"text/html".parse().unwrap())
    );
    assert_eq!(simulator.status("t", PATH).await, 200);
}

#[tokio::test]
async fn the_token_endpoint_seems_to_answer_too() {
    let form = "grant_type=refresh_token&refresh_token=r";
    let cases = [
        (
            r#"{"fault":{"kind":"error-object","body":"oauth","code":"invalid_grant"},"route":"token"}"#,
            json!({ "error": "invalid_grant", "error_description": "Simulated fault" }),
        ),
        (
            r#"{"fault":{"kind":"body","text":"{\"access_token\":\"a\",\"expires_in\":0,\"refresh_token\":5}"},"route":"token"}"#,
            json!({ "access_token": "a", "expires_in": 0, "refresh_token": 5 }),
        ),
    ];
    for (rule, expected) in cases {
        assert_eq!(told(rule).await.grant("alice", form).await, (200, expected));
    }
    let rule = r#"{"fault":{"kind":"byte-order-mark"},"route":"token"}"#;
    let simulator = told(rule).await;
    let request = simulator.client.post(&simulator.token_url).basic_auth("a", Some("b"));
    let body = request.body(form).send().await.unwrap().bytes().await.unwrap();
    assert!(body.starts_with(b"\xef\xbb\xbf{") && body.ends_with(b"}"));
}

#[tokio::test]
async fn links_can_be_missing_in_several_ways() {
    let rule = r#"{"fault":{"kind":"status","status":404},"route":"system-links"}"#;
    assert_eq!(told(rule).await.status("t", LINKS).await, 404);
    for kind in ["empty-object", "maintenance", "null"] {
        let simulator =
            told(&format!(r#"{{"fault":{{"kind":"{kind}"}},"route":"system-links"}}"#)).await;
        assert!(!simulator.json(LINKS).await.is_array(), "{kind}");
        assert_eq!(simulator.json(PATH).await["status"], "active");
    }
}

#[tokio::test]
async fn a_seeming_answer_can_be_there_from_the_start() {
    let faults = vec!["half-session".into()];
    let config = SimulateConfig { faults, ..SimulateConfig::on_free_port() };
    let simulator = Running::with(config).await;
    assert_eq!(names(&simulator.json(PATH).await), ["sessionId", "status"]);
}
