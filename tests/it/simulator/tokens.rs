//! Credentials: the vendor's forms, both refusals, the token endpoint.

use std::time::Duration;

use gotoassist_grpc::{
    config::{
        SimulateConfig,
        simulate::{KeyForm, RefreshTokens, Refusal},
    },
    simulator::{
        BAD_CLIENT, BAD_GRANT, BAD_TOKEN, LinksScript, NO_SEAT_GRANT, NO_SEAT_TOKEN, Rule,
        SessionScript, Standing,
    },
};
use serde_json::Value;

use super::Running;

impl Running {
    pub(super) async fn grant(&self, client: &str, form: &str) -> (u16, Value) {
        let answer = self
            .client
            .post(&self.token_url)
            .basic_auth(client, Some("secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn access_token(&self) -> String {
        let (_, granted) = self.grant("alice", "grant_type=personal_access_token&pat=p").await;
        granted["access_token"].as_str().unwrap().into()
    }
}

#[tokio::test]
async fn a_token_is_taken_in_each_of_the_vendors_forms() {
    let simulator = Running::start().await;
    let url = format!("{}/sessions/250040304", simulator.rest_url);
    for value in ["Bearer t1", "bearer t1", "OAuth oauth_token=t1"] {
        let request = simulator.client.get(&url).header("authorization", value);
        assert_eq!(request.send().await.unwrap().status(), 200, "{value}");
    }
    let in_query = simulator.client.get(format!("{url}?oauth_token=t1"));
    assert_eq!(in_query.send().await.unwrap().status(), 200);
    assert_eq!(simulator.counters().of_credential("t1"), 4);
    assert!(simulator.counters().recent.iter().all(|seen| !format!("{seen:?}").contains("=t1")));
}

#[tokio::test]
async fn a_missing_or_bad_token_is_403_invalid_token_or_401() {
    let simulator = Running::start().await;
    let url = format!("{}/sessions/250040304", simulator.rest_url);
    for request in [simulator.client.get(&url), simulator.client.get(&url).bearer_auth(BAD_TOKEN)] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.headers()["x-amzn-errortype"], "UnauthorizedException");
        let body = answer.text().await.unwrap();
        assert_eq!(body, r#"{"int_err_code":"InvalidToken","msg":"Invalid token passed"}"#);
    }
    simulator.change_settings(|settings| settings.refusal = Refusal::Unauthorized);
    assert_eq!(simulator.status(BAD_TOKEN, "/sessions/250040304").await, 401);
}

#[tokio::test]
async fn no_seat_is_401_for_every_token_of_that_technician() {
    let simulator = Running::start().await;
    assert_eq!(simulator.status(NO_SEAT_TOKEN, "/sessions/250040304").await, 401);
    let form = format!("grant_type=refresh_token&refresh_token={NO_SEAT_GRANT}");
    let (_, granted) = simulator.grant("alice", &form).await;
    let token = granted["access_token"].as_str().unwrap();
    assert_eq!(simulator.status(token, "/sessions/250040304").await, 401);
    simulator.set_credential("t1", Standing::NoSeat);
    assert_eq!(simulator.status("t1", "/sessions/250040304").await, 401);
    simulator.forget_credential("t1");
    assert_eq!(simulator.status("t1", "/sessions/250040304").await, 200);
}

#[tokio::test]
async fn a_session_is_visible_to_its_owners_only() {
    let simulator = Running::start().await;
    let script = SessionScript::resting("1", "active");
    simulator.put_session(script.visible_to(&["t1", "alice@example.com"])).unwrap();
    assert_eq!(simulator.status("t1", "/sessions/1").await, 200);
    assert_eq!(simulator.status("t2", "/sessions/1").await, 404);
    let token = simulator.access_token().await;
    assert_eq!(simulator.status(&token, "/sessions/1").await, 200);
    assert_eq!(simulator.counters().of_credential("alice@example.com"), 1);

    let mut links = LinksScript { links: vec![], visible_to: Some(vec!["t1".into()]) };
    links.links.push([("systemName".into(), serde_json::from_str("\"x\"").unwrap())].into());
    simulator.put_links("d", links);
    for (token, count) in [("t1", 1), ("t2", 0)] {
        let answer = simulator.get_as(token, "/systemLinks?systemDomain=d").await.unwrap();
        let links: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(links.as_array().unwrap().len(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn an_issued_token_expires() {
    let simulator = Running::start().await;
    let token = simulator.access_token().await;
    assert!(token.len() > 255, "{} bytes", token.len());
    assert_eq!(simulator.status(&token, "/sessions/250040304").await, 200);
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(simulator.status(&token, "/sessions/250040304").await, 403);
    let token = simulator.access_token().await;
    simulator.change_settings(|settings| settings.token_lifetime = 1e19);
    let eternal = simulator.access_token().await;
    assert_eq!(simulator.status(&eternal, "/sessions/250040304").await, 200);
    simulator.expire_issued_tokens();
    assert_eq!(simulator.status(&token, "/sessions/250040304").await, 403);
}

#[tokio::test]
async fn an_ordinary_refresh_answers_without_a_refresh_token() {
    let simulator = Running::start().await;
    let form = "grant_type=refresh_token&refresh_token=r";
    let (status, granted) = simulator.grant("alice", form).await;
    assert_eq!(status, 200);
    assert_eq!(granted["expires_in"], 3600);
    assert_eq!(granted["principal"], "alice@example.com");
    assert_eq!((granted.get("refresh_token"), granted.get("token_type")), (None, None));
    assert_eq!(simulator.counters().token_requests, 1);
}

#[tokio::test]
async fn a_refresh_token_rotates_and_can_be_of_single_use() {
    let mut config = SimulateConfig::on_free_port();
    config.settings.refresh_tokens = RefreshTokens::SingleUse;
    config.settings.expires_in = KeyForm::String;
    let simulator = Running::with(config).await;
    let refresh = async |token: &str| {
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        simulator.grant("alice", &form).await
    };
    let (_, granted) = refresh("r").await;
    assert_eq!(granted["expires_in"], "3600");
    let next = granted["refresh_token"].as_str().unwrap();
    assert_eq!(refresh("r").await.1["error"], "invalid_grant");
    assert_eq!(refresh(next).await.0, 200);
    simulator.change_settings(|settings| settings.refresh_tokens = RefreshTokens::Rotate);
    assert!(refresh("q").await.1["refresh_token"].is_string());
    assert_eq!(refresh("q").await.0, 200);
}

#[tokio::test]
async fn the_token_endpoint_refuses_as_oauth_says() {
    let simulator = Running::start().await;
    let good = "grant_type=personal_access_token&pat=p";
    let bad = format!("grant_type=personal_access_token&pat={BAD_GRANT}");
    let cases = [
        (BAD_CLIENT, good, 401, "invalid_client"),
        ("alice", bad.as_str(), 400, "invalid_grant"),
        ("alice", "grant_type=client_credentials", 400, "unsupported_grant_type"),
        ("alice", "grant_type=refresh_token", 400, "invalid_request"),
    ];
    for (client, form, status, error) in cases {
        let (answered, body) = simulator.grant(client, form).await;
        assert_eq!((answered, &body["error"]), (status, &error.into()), "{form}");
    }
    assert_eq!(simulator.grant("alice", "grant_type=authorization_code&code=c").await.0, 200);
    let wrong_method = simulator.client.get(&simulator.token_url).send().await.unwrap();
    assert_eq!(wrong_method.status(), 405);
}

#[tokio::test]
async fn only_issued_tokens_are_accepted_on_demand() {
    let mut config = SimulateConfig::on_free_port();
    config.settings.only_issued_tokens = true;
    let simulator = Running::with(config).await;
    assert_eq!(simulator.status("made-up", "/sessions/250040304").await, 403);
    let token = simulator.access_token().await;
    assert_eq!(simulator.status(&token, "/sessions/250040304").await, 200);
    simulator.set_credential("made-up", Standing::Accepted);
    assert_eq!(simulator.status("made-up", "/sessions/250040304").await, 200);
}

/// Each rule matches docs/simulator.md.
#[tokio::test]
async fn the_token_endpoint_answers_whatever_a_rule_says() {
    let simulator = Running::start().await;
    let page = std::fs::read_to_string("docs/simulator.md").unwrap();
    let faults: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `{\"kind\":")?.split_once("}` |"))
        .map(|(fault, _)| format!(r#"{{"fault":{{"kind":{fault}}},"route":"token","times":1}}"#))
        .collect();
    let answers = [
        (200, r#""expires_in":0"#),
        (200, r#""token_type":"bearer""#),
        (200, r#""refresh_token":5"#),
        (429, r#""errorCode":"RateLimitQuota""#),
        (200, r#""error":"invalid_grant""#),
        (200, "\u{feff}{\"access_token\":\"t\"}"),
    ];
    assert_eq!(faults.len(), answers.len(), "{faults:?}");
    for (fault, (status, part)) in faults.iter().zip(answers) {
        simulator.add_fault(fault.parse::<Rule>().unwrap());
        let answer = simulator
            .client
            .post(&simulator.token_url)
            .basic_auth("alice", Some("secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=refresh_token&refresh_token=r")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{fault}");
        assert_eq!(answer.headers().contains_key("retry-after"), status == 429, "{fault}");
        let body = answer.bytes().await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains(part), "{fault}: {body}");
    }
}
