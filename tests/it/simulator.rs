//! The simulated vendor over real sockets: lives, shapes, credentials, the quota, and every fault
//! on the wire.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod callback;
mod control;
mod faults;
mod list;
mod list_faults;
mod lives;
mod manual;
mod receiver;
mod rules;
mod seeming;
mod shapes;
mod sign_in;
mod tokens;

use std::{ops::Deref, time::Duration};

use gotoassist_grpc::{
    config::SimulateConfig,
    simulator::{SessionScript, Simulator},
};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::kit::{browser::browser, folder::Folder, soon, vendor::Vendor};

/// A simulator that runs until it is dropped, and a client for it.
struct Running {
    vendor: Vendor,
    client: reqwest::Client,
}

impl Running {
    async fn start() -> Self {
        Self::with(SimulateConfig::on_free_port()).await
    }

    async fn with(config: SimulateConfig) -> Self {
        Self { vendor: Vendor::with(&config).await, client: browser() }
    }

    /// The answer to GET of a path below the base URL, with a token.
    async fn get(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        self.get_as("any-token", path).await
    }

    async fn get_as(&self, token: &str, path: &str) -> reqwest::Result<reqwest::Response> {
        self.client.get(format!("{}{path}", self.rest_url)).bearer_auth(token).send().await
    }

    /// The body of an answer, which must have status 200.
    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    async fn status(&self, token: &str, path: &str) -> u16 {
        self.get_as(token, path).await.unwrap().status().as_u16()
    }

    /// The bytes of one plain HTTP/1.1 exchange, until the connection ends or `enough` has come.
    /// Also returns how the connection ended, if it did.
    async fn raw(&self, path: &str, enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, End) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET /G2A/rest/v1{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while !enough(&bytes) {
            match soon(stream.read(&mut buffer)).await {
                Ok(0) => return (bytes, End::Closed),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(_) => return (bytes, End::Reset),
            }
        }
        (bytes, End::Open)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
    Open,
}

impl Deref for Running {
    type Target = Vendor;

    fn deref(&self) -> &Vendor {
        &self.vendor
    }
}

#[tokio::test]
async fn there_is_a_session_in_each_status() {
    let simulator = Running::start().await;
    let expected = [
        ("250040301", "notStarted"),
        ("250040302", "waiting"),
        ("250040303", "active"),
        ("250040304", "complete"),
        ("250040305", "abandoned"),
        ("250040357", "onHold"),
    ];
    for (id, status) in expected {
        let session = simulator.json(&format!("/sessions/{id}")).await;
        assert_eq!((&session["sessionId"], &session["status"]), (&id.into(), &status.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_advances_with_time() {
    let simulator = Running::start().await;
    simulator.put_session(SessionScript::walking("1", 3600.0)).unwrap();
    let expected = ["notStarted", "waiting", "active", "complete", "complete"];
    for status in expected {
        assert_eq!(simulator.json("/sessions/1").await["status"], status);
        tokio::time::advance(Duration::from_hours(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn late_notes_come_after_the_end() {
    let simulator = Running::start().await;
    let script = SessionScript::walking("1", 10.0).later(100.0, "notes", "late");
    simulator.put_session(script).unwrap();
    tokio::time::advance(Duration::from_secs(90)).await;
    let session = simulator.json("/sessions/1").await;
    assert_eq!((&session["status"], session.get("notes")), (&"complete".into(), None));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(simulator.json("/sessions/1").await["notes"], "late");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_kept_for_thirty_days_after_its_end() {
    let simulator = Running::start().await;
    simulator.put_session(SessionScript::resting("1", "complete")).unwrap();
    tokio::time::advance(Duration::from_hours(30 * 24) - Duration::from_mins(1)).await;
    assert_eq!(simulator.status("t", "/sessions/1").await, 200);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(simulator.status("t", "/sessions/1").await, 404);
}

#[tokio::test(start_paused = true)]
async fn a_session_not_started_is_known_by_its_token_only() {
    let simulator = Running::start().await;
    let script = SessionScript { token: Some("tok".into()), ..SessionScript::walking("1", 60.0) };
    simulator.put_session(script).unwrap();
    assert_eq!(simulator.status("t", "/sessions/1").await, 404);
    assert_eq!(simulator.json("/sessions/tok").await.get("sessionId"), None);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(simulator.json("/sessions/1").await["sessionId"], "1");
    assert_eq!(simulator.json("/sessions/tok").await["sessionId"], "1");
}

#[tokio::test]
async fn an_id_is_one_segment_whatever_is_in_it() {
    let simulator = Running::start().await;
    let session = simulator.json("/sessions/a%2Fb%3Fc%252F%20d").await;
    assert_eq!(session["sessionId"], "a/b?c%2F d");
    assert_eq!(simulator.status("t", "/sessions/a/b%3Fc%252F%20d").await, 404);
}

#[tokio::test]
async fn sessions_come_from_a_file_and_at_random() {
    let folder = Folder::new();
    let script = r#"[{"id":"77","steps":[{"at":0,"status":"waiting"}]}]"#;
    let config = SimulateConfig {
        sessions: Some(folder.write("sessions.json", script).into()),
        random: 2000,
        seed: 42,
        ..SimulateConfig::on_free_port()
    };
    let simulator = Running::with(config).await;
    assert_eq!(simulator.json("/sessions/77").await["status"], "waiting");
    assert!(simulator.session("900001999").is_some());
    assert!(simulator.session("900002000").is_none());
    let statuses = simulator.statuses();
    let begun = statuses.iter().filter(|(_, status)| status.is_some()).count();
    assert!((500..1500).contains(&begun), "{begun} lives have begun");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_hanging_answer() {
    let config = SimulateConfig {
        faults: vec!["hang".into(), " ".into()],
        ..SimulateConfig::on_free_port()
    };
    let simulator = Simulator::bind(&config).await.unwrap();
    let (address, control) = (simulator.local_addr(), simulator.control());
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(simulator.run(async { drop(stopped.await) }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /G2A/rest/v1/sessions/1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    soon(control.until(|counters| counters.in_flight == 1)).await;
    stop.send(()).unwrap();
    soon(running).await.unwrap();
    let end = soon(stream.read(&mut [0; 64])).await;
    assert!(!matches!(end, Ok(1..)), "the connection is cut");
}

#[tokio::test]
async fn what_cannot_be_played_is_said_before_listening() {
    let faulty = SimulateConfig { faults: vec!["boom".into()], ..SimulateConfig::on_free_port() };
    let error = Simulator::bind(&faulty).await.unwrap_err().to_string();
    assert!(error.contains("boom") && !error.contains('\n'), "{error}");
    let missing = SimulateConfig { sessions: Some("none.json".into()), ..faulty };
    let error = Simulator::bind(&missing).await.unwrap_err().to_string();
    assert_eq!(error, "cannot read the sessions in none.json");
}
