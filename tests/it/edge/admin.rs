//! The admin port: probes, metrics, the status page.

use std::time::Duration;

use gotoassist_grpc::{
    admin::{
        Admin,
        failures::Failures,
        liveness::Liveness,
        metrics::Metrics,
        port::MAX_CONNECTIONS,
        snapshot::{Callbacks, Fleet, Poll, Snapshot, Upstream},
    },
    grpc::health::{Health, OVERALL, UPSTREAM},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Edge, Settings, soon};
use crate::kit::project::{metrics, sources};

struct Port {
    address: std::net::SocketAddr,
    health: Health,
    liveness: Liveness,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Port {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, stop) = (Health::default(), CancellationToken::new());
        let liveness = Liveness::new(Duration::from_millis(100));
        let metrics = Metrics::install().unwrap();
        let admin = Admin::new(health.clone(), liveness.clone(), metrics, {
            let health = health.clone();
            move || Snapshot { is_ready: health.is_ready(), ..snapshot() }
        });
        let served = tokio::spawn(admin.serve(listener, stop.clone()));
        Self { address, health, liveness, stop, served }
    }

    /// A client that sends a request without its last line.
    async fn half_request(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n").await.unwrap();
        socket
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (code, answer)
    }
}

fn snapshot() -> Snapshot {
    let failures = Failures::default();
    failures.record("UPSTREAM_TIMEOUT", None, "UNAVAILABLE");
    let poll = |session_digest: &str, status, watchers| Poll {
        session_digest: session_digest.to_owned(),
        status,
        watchers,
        is_stale: status == "unknown",
        age: Duration::from_secs(2),
    };
    Snapshot {
        is_ready: false,
        listed_polls: 1,
        version: "1.2.3",
        uptime: Duration::from_mins(62),
        connections: 4,
        watchers: 7,
        upstream: Upstream {
            is_serving: false,
            requests_per_second: 8.0,
            requests: 100,
            failed_requests: 3,
            waiting: 2,
            last_answer_age: Some(Duration::from_secs(1)),
        },
        fleet: Some(Fleet { is_joined: true, replicas: 3, silent: 1, share: 2.0 }),
        callbacks: Some(Callbacks { received: 9, latest_age: Some(Duration::from_secs(4)) }),
        polls: vec![
            poll("00c0ffee00", "waiting", 5),
            poll("<script>alert()</script>", "active", 2),
            poll("00c0ffee01", "unknown", 1),
        ],
        failures: failures.latest(),
    }
}

#[tokio::test]
async fn ready_is_who_wants_new_calls_and_alive_is_who_answers() {
    let port = Port::open().await;
    assert_eq!(port.get("/readyz").await.0, 503);
    port.health.set(OVERALL, true);
    assert_eq!(port.get("/readyz").await.0, 200);
    port.health.set(UPSTREAM, false);
    assert_eq!(port.get("/readyz").await.0, 200);
    port.health.drain();
    assert_eq!(port.get("/readyz").await.0, 503);
    assert_eq!(port.get("/livez").await.0, 200);
    assert_eq!(port.get("/else").await.0, 404);

    port.stop.cancel();
    soon(port.served).await.unwrap();
}

#[tokio::test]
async fn workers_without_progress_make_the_process_count_as_dead() {
    let port = Port::open().await;
    let heartbeat = port.liveness.expect();
    soon(async {
        loop {
            let (code, answer) = port.get("/livez").await;
            if code == 503 {
                break assert!(answer.ends_with("no progress: workers\n"), "{answer}");
            }
        }
    })
    .await;
    // A dropped heartbeat means that the workers have ended as planned.
    drop(heartbeat);
    assert_eq!(port.get("/livez").await.0, 200);
}

#[tokio::test]
async fn half_requests_take_bounded_places_and_a_new_probe_always_finds_one() {
    let port = Port::open().await;
    let mut half = Vec::new();
    for _ in 0..180 {
        half.push(port.half_request().await);
    }
    let (code, answer) = port.get("/livez").await;
    assert_eq!(code, 200);
    // Without this header, a client that is slow to close would keep its connection.
    assert!(answer.contains("connection: close"), "{answer}");
    // The probe took one of the connections too.
    let closed = half.len() - (MAX_CONNECTIONS - 1);
    for socket in &mut half[..closed] {
        is_closed(socket).await;
    }
    let places = half.len() - closed;
    for socket in &mut half[closed..] {
        socket.write_all(b"connection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "one of {places}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_request_is_not_waited_for_without_end() {
    let port = Port::open().await;
    let start = Instant::now();
    let (mut silent, mut half) =
        (TcpStream::connect(port.address).await.unwrap(), port.half_request().await);
    let both = async { tokio::join!(is_closed(&mut silent), is_closed(&mut half)) };
    timeout(Duration::from_mins(10), both).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
}

/// Waits until the server has closed this connection without an answer.
async fn is_closed(socket: &mut TcpStream) {
    // A reset also closes the connection.
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn the_status_page_says_what_is_going_on_without_script_or_whole_ids() {
    let port = Port::open().await;
    port.health.set(OVERALL, true);
    let (code, page) = port.get("/").await;
    assert_eq!(code, 200);
    for fact in [
        ">ready<",
        "1.2.3",
        "1 h 2 min",
        "does not answer",
        "stays ready, because another one would not reach GoToAssist either",
        "of 8.0 requests a second",
        "waiting <b>1</b>",
        "<code>00c0ffee00</code>",
        "unknown <b>1</b>",
        "stale <b>1</b>",
        "unknown <span class=\"bad\">stale</span>",
        "2 s ago",
        "Callbacks are on: 9 since the start, the latest 4 s ago",
        "UPSTREAM_TIMEOUT",
        "http-equiv=\"refresh\"",
        "width=device-width",
        "prefers-color-scheme: dark",
        "<svg",
    ] {
        assert!(page.contains(fact), "{fact} is missing in {page}");
    }
    for absent in ["waiting <span", "<script"] {
        assert!(!page.contains(absent), "{absent} is in {page}");
    }
    port.health.drain();
    let (_, page) = port.get("/").await;
    assert!(page.contains(">not ready<") && !page.contains("stays ready"), "{page}");
}

#[tokio::test]
async fn the_status_is_there_as_json_too() {
    let port = Port::open().await;
    port.health.set(OVERALL, true);
    let (code, answer) = port.get("/status.json").await;
    assert_eq!(code, 200);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(status["is_ready"], true);
    assert_eq!(status["uptime_seconds"], 3720.0);
    assert_eq!(status["upstream"]["last_answer_age_seconds"], 1.0);
    assert_eq!(
        status["polls"][0],
        serde_json::json!({
            "session_digest": "00c0ffee00", "status": "waiting", "watchers": 5,
            "is_stale": false, "age_seconds": 2.0,
        })
    );
    assert_eq!(status["failures"][0]["reason"], "UPSTREAM_TIMEOUT");
}

#[tokio::test]
async fn a_process_without_a_log_says_so() {
    let port = Port::open().await;
    let (code, answer) = port.get("/log-level").await;
    assert_eq!(code, 501);
    assert!(answer.ends_with("this process has no log\n"), "{answer}");
}

#[tokio::test]
async fn the_metrics_come_with_their_meaning() {
    let port = Port::open().await;
    // The server describes its metrics now that there is a recorder. Earlier tests may already have
    // changed their values.
    let _edge = Edge::start(Settings::default()).await;
    let (code, text) = port.get("/metrics").await;
    assert_eq!(code, 200);
    assert!(text.contains("gotoassist_build_info{version="), "{text}");
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    for line in body.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(body.contains(&format!("# HELP {name} ")), "{name} has no meaning");
    }
}

#[test]
fn every_metric_in_the_source_has_a_meaning() {
    let mut named = 0;
    for (path, source) in sources() {
        let text: String = source.split_whitespace().collect();
        for recording in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
            assert!(!text.contains(recording), "{} names a metric in passing", path.display());
        }
        for (name, _) in metrics(&source) {
            let is_described = ["counter", "gauge", "histogram"]
                .iter()
                .any(|kind| text.contains(&format!("describe_{kind}!({name},")));
            assert!(is_described, "{name} in {} has no meaning", path.display());
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
}
