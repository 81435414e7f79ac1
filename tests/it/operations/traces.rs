//! The spans that a collector receives.

use std::{fmt::Write as _, time::Instant};

use opentelemetry_proto::tonic::trace::{
    self,
    v1::{Span, span::SpanKind, status::StatusCode},
};
use tokio::net::TcpListener;
use tonic::{Request, transport::Identity};

use super::{
    LIMIT, Serve,
    collector::{Collector, attribute},
    session, signed, soon, watch,
};
use crate::kit::{
    certificate::Authority,
    folder::Folder,
    stub::{Step, Stub, answer, ok},
};

const SERVICE: &str = "gotoassist.remotesupport.v1.RemoteSupportService";
const QUICK: [&str; 4] = ["--upstream-rps", "1000", "--poll-active", "20ms"];

/// A request in the trace whose id repeats this digit.
fn traced<T>(message: T, digit: char, flags: &str) -> Request<T> {
    let mut request = signed(message, "Bearer a");
    let metadata = request.metadata_mut();
    let parent = format!("00-{}-{}-{flags}", id(digit, 32), id(digit, 16));
    metadata.insert("traceparent", parent.parse().unwrap());
    metadata.insert("tracestate", "somebody=else".parse().unwrap());
    request
}

fn id(digit: char, length: usize) -> String {
    std::iter::repeat_n(digit, length).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind() == kind).collect()
}

#[tokio::test]
async fn a_call_is_a_span_in_its_callers_trace_with_its_requests_below_it() {
    let collector = Collector::start().await;
    let vendor = Stub::scripted(|number, _| match number {
        0 => answer("503 x", &[], ""),
        _ => ok(r#"{"status":"active"}"#),
    })
    .await;
    let (url, endpoint) = (vendor.url().to_string(), collector.url());
    let flags = ["--upstream-url", &url, "--otlp-endpoint", &endpoint, "--log-format", "json"];
    let serve = Serve::start(&[&flags[..], &QUICK].concat()).await;
    serve.client().await.get_session(traced(session("12345"), 'a', "01")).await.unwrap();
    let log = serve.stop().await;

    let spans = collector.spans();
    let [call] = of_kind(&spans, SpanKind::Server)[..] else { panic!("{spans:#?}") };
    assert_eq!(call.name, format!("{SERVICE}/GetSession"));
    assert_eq!(hex(&call.trace_id), id('a', 32));
    assert_eq!(hex(&call.parent_span_id), id('a', 16));
    assert_eq!(attribute(call, "rpc.system.name").as_deref(), Some("grpc"));
    assert_eq!(attribute(call, "rpc.response.status_code").as_deref(), Some("OK"));

    let requests = of_kind(&spans, SpanKind::Client);
    assert_eq!(requests.len(), 2, "{spans:#?}");
    for (request, status, resends) in [(requests[0], "503", None), (requests[1], "200", Some("1"))]
    {
        assert_eq!(request.name, "GET /sessions/{sessionId}");
        assert_eq!(request.trace_id, call.trace_id);
        assert_eq!(request.parent_span_id, call.span_id);
        assert_eq!(attribute(request, "http.response.status_code").as_deref(), Some(status));
        assert_eq!(attribute(request, "http.request.resend_count").as_deref(), resends);
        assert_eq!(attribute(request, "server.address").as_deref(), Some("127.0.0.1"));
    }
    let code = |span: &Span| span.status.as_ref().map(trace::v1::Status::code);
    assert_eq!(code(requests[0]), Some(StatusCode::Error));
    assert_ne!(code(requests[1]), Some(StatusCode::Error));
    assert_eq!(attribute(requests[0], "error.type").as_deref(), Some("unavailable"));
    assert!(!collector.text().contains("12345"), "{}", collector.text());

    let line = log.lines().find(|line| line.contains("call ended")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["trace_id"], id('a', 32));
    assert_eq!(line["attempts"], 2);
    assert_eq!(line["upstream_status"], 200);
    assert!(vendor.heads().iter().all(|head| !head.contains("traceparent")));
}

#[tokio::test]
async fn the_vendor_joins_the_trace_only_if_asked() {
    let collector = Collector::start().await;
    let vendor = Stub::always(ok("[]")).await;
    let (url, endpoint) = (vendor.url().to_string(), collector.url());
    let flags = ["--upstream-url", &url, "--otlp-endpoint", &endpoint];
    let serve = Serve::start(&[&flags[..], &["--otlp-propagate-upstream"]].concat()).await;
    let asked = traced(super::links("two.example.com"), 'b', "01");
    serve.client().await.list_system_links(asked).await.unwrap();
    serve.stop().await;

    let spans = collector.spans();
    let [request] = of_kind(&spans, SpanKind::Client)[..] else { panic!("{spans:#?}") };
    assert_eq!(request.name, "GET /systemLinks");
    let parent = format!("traceparent: 00-{}-{}-01", id('b', 32), hex(&request.span_id));
    let heads = vendor.heads();
    assert!(heads[0].contains(&parent), "{parent}: {heads:?}");
    assert!(heads[0].contains("tracestate: somebody=else"), "{heads:?}");
}

#[tokio::test]
async fn the_callers_flag_decides_and_else_the_share() {
    let vendor = Stub::always(ok(r#"{"status":"active"}"#)).await;
    let url = vendor.url().to_string();
    for (share, recorded) in [("1", ["yes", "none"]), ("0", ["yes", ""])] {
        let collector = Collector::start().await;
        let endpoint = collector.url();
        let flags = ["--upstream-url", &url, "--otlp-endpoint", &endpoint, "--otlp-sample", share];
        let flags = [&flags[..], &["--log-format", "json"], &QUICK].concat();
        let serve = Serve::start(&flags).await;
        let mut client = serve.client().await;
        client.get_session(traced(session("1"), 'c', "01")).await.unwrap();
        client.get_session(traced(session("2"), 'd', "00")).await.unwrap();
        client.get_session(signed(session("3"), "Bearer a")).await.unwrap();
        let log = serve.stop().await;

        let spans = collector.spans();
        let calls = of_kind(&spans, SpanKind::Server);
        let is_in = |span: &&&Span, digit| hex(&span.trace_id) == id(digit, 32);
        assert_eq!(calls.iter().filter(|span| is_in(span, 'c')).count(), 1, "{calls:#?}");
        assert_eq!(calls.iter().filter(|span| is_in(span, 'd')).count(), 0, "{calls:#?}");
        let begun: Vec<_> = calls.iter().filter(|span| !is_in(span, 'c')).collect();
        assert_eq!(begun.len(), usize::from(recorded[1] == "none"), "{calls:#?}");
        for root in begun {
            assert!(root.parent_span_id.is_empty(), "{root:#?}");
            assert!(log.contains(&hex(&root.trace_id)), "{log}");
        }
        assert!(log.contains(&id('d', 32)), "the caller's own id is told all the same: {log}");
    }
}

#[tokio::test]
async fn a_poll_is_a_trace_of_its_own_that_links_to_the_watches_it_serves() {
    let collector = Collector::start().await;
    let vendor = Stub::always(ok(r#"{"status":"active"}"#)).await;
    let (url, endpoint) = (vendor.url().to_string(), collector.url());
    let flags = ["--upstream-url", &url, "--otlp-endpoint", &endpoint];
    let serve = Serve::start(&[&flags[..], &QUICK].concat()).await;
    let mut client = serve.client().await;
    let first = client.watch_session(traced(watch("1"), 'a', "01")).await.unwrap();
    let second = client.watch_session(traced(watch("1"), 'b', "01")).await.unwrap();
    let unheard = client.watch_session(traced(watch("1"), 'c', "00")).await.unwrap();
    vendor.until_requests(vendor.requests() + 5).await;
    drop(second);
    serve.stop().await;
    drop((first, unheard));

    let spans = collector.spans();
    let watches = of_kind(&spans, SpanKind::Server);
    assert_eq!(watches.len(), 2, "{watches:#?}");
    let linked = |poll: &Span, digit| {
        let watch = watches.iter().find(|watch| hex(&watch.trace_id) == id(digit, 32)).unwrap();
        poll.links.iter().any(|link| link.span_id == watch.span_id)
    };
    let polls = of_kind(&spans, SpanKind::Internal);
    assert!(polls.iter().all(|poll| poll.name == "poll" && poll.parent_span_id.is_empty()));
    assert!(polls.iter().any(|poll| linked(poll, 'a') && linked(poll, 'b')), "{polls:#?}");
    assert!(polls.iter().all(|poll| poll.links.len() <= 2), "{polls:#?}");
    let requests = of_kind(&spans, SpanKind::Client);
    let poll = polls.iter().find(|poll| attribute(poll, "gotoassist.poll.result").is_some());
    let poll = poll.unwrap();
    assert!(requests.iter().any(|request| request.parent_span_id == poll.span_id), "{spans:#?}");
    assert_ne!(hex(&poll.trace_id), id('a', 32));
}

/// The collector accepts the connection and never answers, which is worse than a closed port.
#[tokio::test]
async fn a_collector_that_hangs_slows_no_call_and_what_is_lost_is_counted() {
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hung.local_addr().unwrap());
    let vendor = Stub::always(vec![Step::Hang]).await;
    let url = vendor.url().to_string();
    let serve = Serve::start(&["--upstream-url", &url, "--otlp-endpoint", &endpoint]).await;
    let client = serve.client().await;
    // Each call is refused at once, because its id is empty.
    let calls = futures_util::future::join_all((0..4000).map(|_| {
        let mut client = client.clone();
        async move { client.get_session(signed(session(""), "Bearer a")).await.unwrap_err() }
    }));
    let start = Instant::now();
    soon(calls).await;
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    let metrics = serve.page("/metrics").await;
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"gotoassist_trace_spans_total{result="dropped"} "#))
        .unwrap_or_else(|| panic!("{metrics}"));
    // All spans that do not fit into the queue are dropped. There are fewer if the exporter has
    // already given up a batch.
    let dropped: usize = dropped.parse().unwrap();
    assert!((1..=4000 - 2048).contains(&dropped), "{dropped}");
    let start = Instant::now();
    let log = serve.stop().await;
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert!(log.contains("the last spans were not sent"), "{log}");
}

#[tokio::test]
async fn a_collector_behind_tls_is_trusted_by_the_given_authority() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let ca = folder.write("ca.pem", authority.pem());
    let certified = authority.issue("127.0.0.1");
    let identity = Identity::from_pem(certified.pem(), certified.key_pem());
    let collector = Collector::start_secured(identity).await;
    let endpoint = collector.secured_url();
    let flags = ["--upstream-url", "http://127.0.0.1:9", "--otlp-endpoint", &endpoint];
    let serve = Serve::start(&[&flags[..], &["--otlp-ca-file", &ca]].concat()).await;
    serve.client().await.get_session(signed(session(""), "Bearer a")).await.unwrap_err();
    serve.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!(
        attribute(&spans[0], "gotoassist.error.reason").as_deref(),
        Some("ARGUMENT_INVALID")
    );
}
