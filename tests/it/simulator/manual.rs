//! docs/simulator.md says what is so.

use gotoassist_grpc::simulator::{Fault, Rule, SessionScript};

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
    assert_eq!(kinds.len(), 26);
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

#[tokio::test]
async fn the_example_in_rust_works() {
    let simulator = Running::start().await;
    let control = &simulator.control;
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
