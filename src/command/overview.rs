//! `status`: the state of a service, from its admin port.

use std::{fmt::Write as _, time::Duration};

use reqwest::Method;
use serde_json::Value;

use super::{FAILED, admin_port, output, output::DIM};
use crate::config::{OutputFormat, StatusConfig};

/// Prints the state of the service. `Err` is the exit status if the service is not ready.
pub async fn run(config: &StatusConfig) -> Result<(), u8> {
    let json = admin_port::send(&config.admin_port, Method::GET, "/status.json", &[]).await?;
    let state: Value = serde_json::from_slice(&json).map_err(|_| admin_port::misread())?;
    match output::format(config.output) {
        OutputFormat::Json => output::text(&state)?,
        OutputFormat::Text => output::text(&text(&state).trim_end())?,
    }
    if state["is_ready"] == true { Ok(()) } else { Err(FAILED) }
}

/// The state for people.
fn text(state: &Value) -> String {
    let mut text = String::new();
    let ready = if state["is_ready"] == true { "ready" } else { "NOT READY" };
    let upstream = &state["upstream"];
    let answers = if upstream["is_serving"] == true { "answers" } else { "DOES NOT ANSWER" };
    // Writing to a String never fails.
    let _ = writeln!(
        text,
        "{ready}, version {}, up {}\nGoToAssist {answers}; {} requests wait for the quota of {} a second\n\
         {} watchers of {} sessions, {} connections",
        word(&state["version"]),
        span(&state["uptime_seconds"]),
        upstream["waiting"],
        upstream["requests_per_second"],
        state["watchers"],
        rows(&state["polls"]).len(),
        state["connections"],
    );
    if state["fleet"]["is_joined"] == false {
        let _ = writeln!(text, "DEGRADED: Redis of the fleet does not answer");
    }
    table(&mut text, "SESSION     STATUS      WATCHERS  LAST POLL", &state["polls"], |poll| {
        let note = if poll["is_stale"] == true { "  stale" } else { "" };
        format!(
            "{:<10}  {:<10}  {:<8}  {} ago{note}",
            word(&poll["session_digest"]),
            word(&poll["status"]),
            poll["watchers"].to_string(),
            span(&poll["age_seconds"]),
        )
    });
    table(&mut text, "FAILED CALLS", &state["failures"], |failure| {
        let cause = failure["cause"].as_str().map(|cause| format!(" ({cause})"));
        format!(
            "{} × {}{}, the last {} ago",
            failure["count"],
            word(&failure["reason"]),
            cause.unwrap_or_default(),
            span(&failure["age_seconds"]),
        )
    });
    text
}

fn table(text: &mut String, heading: &str, of: &Value, row: impl Fn(&Value) -> String) {
    if !rows(of).is_empty() {
        let _ = writeln!(text, "\n{DIM}{heading}{DIM:#}");
    }
    for each in rows(of) {
        let _ = writeln!(text, "{}", row(each));
    }
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// A number of seconds, without fractions.
fn span(seconds: &Value) -> impl std::fmt::Display {
    let seconds = Duration::try_from_secs_f64(seconds.as_f64().unwrap_or_default());
    humantime::format_duration(Duration::from_secs(seconds.unwrap_or_default().as_secs()))
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_state_is_told_in_words() {
        let state = json!({
            "is_ready": true, "version": "1.2.3", "uptime_seconds": 3720.5, "connections": 4,
            "watchers": 7,
            "upstream": {"is_serving": false, "requests_per_second": 8.0, "waiting": 2},
            "polls": [
                {"session_digest": "00c0ffee00", "status": "waiting", "watchers": 5,
                 "is_stale": true, "age_seconds": 2.25},
            ],
            "failures": [
                {"reason": "UPSTREAM_CONNECT_FAILED", "cause": "dns", "code": "UNAVAILABLE",
                 "count": 3, "age_seconds": 61.0},
            ],
        });
        assert_eq!(
            strip_str(&text(&state)).to_string(),
            "ready, version 1.2.3, up 1h 2m\n\
             GoToAssist DOES NOT ANSWER; 2 requests wait for the quota of 8.0 a second\n\
             7 watchers of 1 sessions, 4 connections\n\
             \n\
             SESSION     STATUS      WATCHERS  LAST POLL\n\
             00c0ffee00  waiting     5         2s ago  stale\n\
             \n\
             FAILED CALLS\n\
             3 × UPSTREAM_CONNECT_FAILED (dns), the last 1m 1s ago\n"
        );
    }
}
