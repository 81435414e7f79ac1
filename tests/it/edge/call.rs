//! Log lines and metrics at the end of each call. A panic ends only its own call.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::admin::{failures::Failure, metrics};
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};
use tonic::Code;
use tonic_types::StatusExt as _;
use tracing::subscriber::DefaultGuard;

use super::{Edge, Settings, soon};

/// Records only the metrics of this test, because each test has its own thread.
pub fn recorder() -> (&'static PrometheusRecorder, PrometheusHandle) {
    let recorder = metrics::builder().unwrap().build_recorder();
    let handle = recorder.handle();
    (Box::leak(Box::new(recorder)), handle)
}

fn calls(metrics: &str, method: &str, code: &str) -> Option<u32> {
    let line = format!(
        "rpc_server_call_duration_seconds_count{{rpc_method=\"{method}\",rpc_response_status_code=\"{code}\"}} "
    );
    metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok())
}

/// How many connections were closed for this cause.
pub fn cut_connections(metrics: &str, cause: &str) -> u32 {
    let line = format!("gotoassist_connections_cut_total{{cause=\"{cause}\"}} ");
    metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
}

const GET: &str = "gotoassist.remotesupport.v1.RemoteSupportService/GetSession";
const WATCH: &str = "gotoassist.remotesupport.v1.RemoteSupportService/WatchSession";

#[tokio::test]
async fn every_end_is_counted_with_its_code() {
    let (recorder, metrics) = recorder();
    let _guard = ::metrics::set_default_local_recorder(recorder);
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    for (method, id) in [
        ("GetSession", "known"),
        ("GetSession", "missing"),
        ("WatchSession", "short"),
        ("NoSuchMethod", "known"),
        ("AnotherOne", "known"),
    ] {
        client.call(method, id, &[]).await.unwrap();
    }
    for method in ["GetSession", "WatchSession"] {
        client.call(method, "silent", &[("grpc-timeout", "50m")]).await.unwrap();
    }

    let text = metrics.render();
    for (method, code, count) in [
        (GET, "OK", 1),
        (GET, "NOT_FOUND", 1),
        (GET, "DEADLINE_EXCEEDED", 1),
        (WATCH, "OK", 1),
        (WATCH, "DEADLINE_EXCEEDED", 1),
        ("_OTHER", "UNIMPLEMENTED", 2),
    ] {
        assert_eq!(calls(&text, method, code), Some(count), "{method} {code}\n{text}");
    }
    let ended = Duration::from_mins(1);
    let latest = edge.failures.latest();
    let [Failure { reason, cause: None, code: "DEADLINE_EXCEEDED", count: 2, age }] = &*latest
    else {
        panic!("{latest:?}")
    };
    assert!(reason == "DEADLINE_EXCEEDED" && *age < ended);
}

#[tokio::test]
async fn a_client_that_goes_away_counts_as_cancelled_and_leaves_nothing_active() {
    let (recorder, metrics) = recorder();
    let _guard = ::metrics::set_default_local_recorder(recorder);
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    let stream = soon(client.begin("WatchSession", "open", &[])).await.unwrap();
    let active = format!("rpc_server_active_calls{{rpc_method=\"{WATCH}\"}} 1");
    assert!(metrics.render().contains(&active), "{}", metrics.render());

    drop(stream);
    client.connection.abort();
    soon(async {
        while calls(&metrics.render(), WATCH, "CANCELLED") != Some(1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!metrics.render().contains(&active));
}

#[tokio::test]
async fn a_panic_is_one_calls_internal_error() {
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    for (method, messages) in [("GetSession", 0), ("WatchSession", 1)] {
        let answer = client.call(method, "panic", &[]).await.unwrap();
        let (status, trailers_only) = answer.status();
        assert_eq!((status.code(), trailers_only), (Code::Internal, messages == 0));
        assert_eq!(status.get_details_error_info().unwrap().reason, "SERVICE_FAILED");
        assert!(!status.message().contains("as asked"));
        assert_eq!(answer.messages, messages);
    }
    let answer = client.call("GetSession", "known", &[]).await.unwrap();
    assert_eq!(answer.status().0.code(), Code::Ok);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Captures all log lines of this thread until the guards are dropped.
    fn start() -> (Self, (tracing::Dispatch, DefaultGuard)) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        // With only one subscriber, tracing caches the interest of the first thread that logs a
        // line, which may be a thread of another test. A second subscriber prevents that.
        let second = tracing::Dispatch::new(tracing_subscriber::registry());
        let guard = tracing::subscriber::set_default(subscriber);
        tracing::callsite::rebuild_interest_cache();
        (log, (second, guard))
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The level, text and reason of each end in the log.
fn ends(log: &Log) -> Vec<[String; 3]> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let end = |line: serde_json::Value| {
        let fields = &line["fields"];
        [text(&line["level"]), text(&fields["message"]), text(&fields["reason"])]
    };
    log.lines().into_iter().map(end).collect()
}

#[tokio::test]
async fn ends_that_were_planned_are_no_failures() {
    let (recorder, metrics) = recorder();
    let _recording = ::metrics::set_default_local_recorder(recorder);
    let (log, _logging) = Log::start();
    let sparing = Edge::start(Settings { log_ok_calls: 0.0, ..Settings::default() }).await;
    let edge = Edge::start(Settings::default()).await;
    for edge in [&sparing, &edge] {
        for id in ["rotated", "draining", "slow"] {
            edge.client().await.call("GetSession", id, &[]).await.unwrap();
        }
    }

    let slow = ["INFO", "call ended", "SLOW_WATCHER"];
    let rotated = ["INFO", "call ended", "STREAM_ROTATED"];
    let draining = ["INFO", "call ended", "SERVER_DRAINING"];
    assert_eq!(ends(&log), [slow, rotated, draining, slow], "sampled like calls that went well");
    let reasons: Vec<_> = edge.failures.latest().into_iter().map(|end| end.reason).collect();
    assert_eq!(reasons, ["SLOW_WATCHER"]);
    let text = metrics.render();
    let count = |metric: &str, reason: &str| {
        let series = format!("{metric}{{rpc_method=\"{GET}\",reason=\"{reason}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&series));
        count.map(|count| count.parse::<u32>().unwrap())
    };
    for reason in ["STREAM_ROTATED", "SERVER_DRAINING"] {
        assert_eq!(count("gotoassist_planned_ends_total", reason), Some(2), "{text}");
        assert_eq!(count("gotoassist_call_errors_total", reason), None, "{text}");
    }
    assert_eq!(count("gotoassist_call_errors_total", "SLOW_WATCHER"), Some(2), "{text}");
    assert_eq!(count("gotoassist_planned_ends_total", "SLOW_WATCHER"), None, "{text}");
}

#[tokio::test]
async fn the_log_has_one_line_a_call_and_no_secret() {
    let (log, _logging) = Log::start();

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers =
        [("authorization", "Bearer s3cret"), ("traceparent", &*traceparent), ("x-note", "s3cret")];
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    for id in ["s3cret", "missing"] {
        client.call("GetSession", id, &headers).await.unwrap();
    }
    let quiet = Edge::start(Settings { log_ok_calls: 0.0, ..Settings::default() }).await;
    quiet.client().await.call("GetSession", "known", &[]).await.unwrap();

    let lines = log.lines();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains("s3cret") && !log.contains(&edge.address.to_string()), "{log}");
    let codes: Vec<_> = lines.iter().map(|line| line["fields"]["code"].as_str()).collect();
    assert_eq!(codes, [Some("OK"), Some("NOT_FOUND")], "{log}");
    assert_eq!(lines[0]["fields"]["method"], GET);
    assert_eq!(lines[0]["fields"]["trace_id"], trace);
    assert_eq!(lines[0]["fields"]["peer"], "127.0.0.1");
    assert!(lines[0]["fields"]["seconds"].is_f64());
}
