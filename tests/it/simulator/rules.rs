//! Rules: which requests they match, and how they are parsed.

use gotoassist_grpc::simulator::{Fault, Route, Rule};

use super::Running;

/// Sends this many requests. Returns for each whether the rule matches it.
async fn strikes(rule: Rule, requests: usize) -> Vec<bool> {
    let simulator = Running::start().await;
    simulator.add_fault(Rule { fault: Fault::NoContent, ..rule });
    let mut strikes = Vec::new();
    for _ in 0..requests {
        strikes.push(simulator.status("a", "/sessions/250040304").await == 204);
    }
    strikes
}

#[tokio::test]
async fn a_rule_strikes_as_often_as_it_says_after_those_it_skips() {
    let rule = Rule { skip: 1, times: Some(2), ..Rule::default() };
    assert_eq!(strikes(rule, 5).await, [false, true, true, false, false]);
}

#[tokio::test]
async fn chance_is_the_same_for_the_same_seed() {
    let rule = |seed| Rule { probability: Some(0.5), seed, ..Rule::default() };
    assert_eq!(strikes(rule(Some(1)), 64).await, strikes(rule(Some(1)), 64).await);
    assert_ne!(strikes(rule(Some(1)), 64).await, strikes(rule(Some(2)), 64).await);
    let struck = strikes(rule(None), 1000).await.into_iter().filter(|struck| *struck).count();
    assert!((400..600).contains(&struck), "{struck} of 1000");
}

#[tokio::test]
async fn a_rule_strikes_only_what_it_is_about() {
    let about = Rule { session_id: Some("2".into()), ..Rule::default() };
    assert_eq!(strikes(about, 1).await, [false]);
    let about = Rule { credential: Some("b".into()), ..Rule::default() };
    assert_eq!(strikes(about, 1).await, [false]);
    assert_eq!(strikes(Rule { route: Route::Token, ..Rule::default() }, 1).await, [false]);
    assert_eq!(strikes(Rule { route: Route::Sessions, ..Rule::default() }, 1).await, [true]);
}

#[test]
fn a_rule_is_read_from_its_kind_or_from_json() {
    assert_eq!("reset".parse::<Rule>().unwrap(), Rule::from(Fault::Reset));
    let text = r#"{"fault":{"kind":"trickle","seconds":0.5},"times":2,"sessionId":"7"}"#;
    let rule = text.parse::<Rule>().unwrap();
    assert_eq!((rule.fault, rule.times), (Fault::Trickle { seconds: 0.5 }, Some(2)));
    assert!("no-such-kind".parse::<Rule>().is_err());
    let nonsense = [
        r#"{"fault":{"kind":"reset"},"tims":1}"#,
        r#"{"fault":{"kind":"trickle","second":1}}"#,
        r#"{"fault":{"kind":"status","status":101}}"#,
        r#"{"fault":{"kind":"informational","status":101}}"#,
        r#"{"fault":{"kind":"error-object","body":"html"}}"#,
        r#"{"fault":{"kind":"shape","status":"upper-snake"}}"#,
        r#"{"delay":-1}"#,
    ];
    for text in nonsense {
        assert!(text.parse::<Rule>().is_err(), "{text}");
    }
}
