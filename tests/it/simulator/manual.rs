//! docs/simulator.md says what is so.

use gotoassist_grpc::simulator::{Rule, SessionScript};

use super::Running;

const MANUAL: &str = include_str!("../../../docs/simulator.md");

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

#[test]
fn every_kind_of_fault_is_in_the_manual() {
    let error = "no-such-kind".parse::<Rule>().unwrap_err().to_string();
    let (_, kinds) = error.split_once("expected one of ").unwrap();
    let kinds: Vec<_> = kinds.split('`').skip(1).step_by(2).collect();
    assert_eq!(kinds.len(), 25);
    for kind in kinds {
        assert!(MANUAL.contains(&format!("\n| `{kind}` |")), "{kind}");
    }
}

#[tokio::test]
async fn every_built_in_session_is_in_the_manual() {
    for (id, _) in Running::start().await.statuses() {
        assert!(MANUAL.contains(&format!("\n| `{id}` |")), "{id}");
    }
}
