//! Checks docs/simulator.md against the simulator.

use clap::{CommandFactory as _, Parser, builder::PossibleValue};
use gotoassist_grpc::{
    config::SimulateConfig,
    simulator::{Fault, Rule, SessionScript},
};

use super::Running;

const MANUAL: &str = include_str!("../../../docs/simulator.md");

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    config: SimulateConfig,
}

/// Every kind of fault, as the error for an unknown one lists them.
fn kinds() -> Vec<String> {
    let error = "no-such-kind".parse::<Rule>().unwrap_err().to_string();
    let (_, kinds) = error.split_once("expected one of ").unwrap();
    kinds.split('`').skip(1).step_by(2).map(String::from).collect()
}

fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    MANUAL.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[tokio::test]
async fn every_json_of_the_manual_is_understood() {
    let simulator = Running::start().await;
    let blocks = blocks("json");
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        if block.starts_with('[') {
            for script in serde_json::from_str::<Vec<SessionScript>>(block).unwrap() {
                simulator.put_session(script).unwrap();
            }
        } else {
            simulator.add_fault(block.parse::<Rule>().unwrap());
        }
    }
    assert!(simulator.session("1000001").is_some());
}

#[tokio::test]
async fn every_rule_within_a_sentence_of_the_manual_is_understood() {
    let rules: Vec<_> = MANUAL.split("`{\"fault\":").skip(1).collect();
    assert!(rules.len() >= 15, "{}", rules.len());
    for rest in rules {
        let rule = format!("{{\"fault\":{}", rest.split('`').next().unwrap());
        assert!(rule.parse::<Rule>().is_ok(), "{rule}");
    }
}

#[test]
fn every_kind_of_fault_is_in_the_manual_and_in_the_help() {
    let help = Line::command().render_long_help().to_string();
    let words: Vec<_> = help.split([' ', ',', '.', ':', '`', '\n']).collect();
    let kinds = kinds();
    assert_eq!(kinds.len(), 36);
    for kind in kinds {
        assert!(MANUAL.contains(&format!("\n| `{kind}` |")), "{kind}");
        assert!(words.contains(&&*kind), "{kind}");
    }
}

#[test]
fn every_flag_is_in_the_manual_with_every_value() {
    for flag in Line::command().get_arguments().filter(|flag| flag.get_id() != "help") {
        let name = flag.get_long().unwrap();
        assert!(MANUAL.contains(&format!("`--{name}")), "--{name}");
        for value in flag.get_possible_values().iter().map(PossibleValue::get_name) {
            assert!(MANUAL.contains(value), "--{name} {value}");
        }
    }
}

#[tokio::test]
async fn every_built_in_session_is_in_the_manual() {
    for (id, _) in Running::start().await.statuses() {
        assert!(MANUAL.contains(&format!("\n| `{id}` |")), "{id}");
    }
}

#[tokio::test]
async fn the_example_in_rust_works() {
    let simulator = Running::start().await;
    let control = &simulator;
    control.put_session(SessionScript::walking("42", 5.0).later(20.0, "notes", "late")).unwrap();
    control.add_fault(Rule::times(2, Fault::status(503)).for_session("42"));
    for status in [503, 503, 200] {
        assert_eq!(simulator.status("t", "/sessions/42").await, status);
        assert_eq!(simulator.status("t", "/sessions/250040304").await, 200);
    }
    control.add_fault(Fault::status_with_retry_after(429, 3));
    let answer = simulator.get("/sessions/42").await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (429, &"3".parse().unwrap())
    );
    control.until(|counters| counters.of_session("42") == 4).await;
}
