//! Logs, metrics, errors and traces have no secrets or personal data. The test puts markers into
//! all secrets, runs every path, and searches all output for the markers.

use std::{fmt::Write as _, fs};

use gotoassist_grpc::proto::{
    GetSessionRequest, remote_support_service_client::RemoteSupportServiceClient,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::{Request, Status, transport::Channel};

use super::{Serve, collector::Collector, links, reason, session, signed, soon, watch};
use crate::kit::{
    folder::Folder,
    stub::{Step, Stub, answer, ok},
};

/// The marker in every secret and personal datum.
const MARK: &str = "MARK-";
/// The marker in every session id. The details of an error may return the id to its caller.
const ID: &str = "MARKID-";
const TOKEN: &str = "Bearer MARK-access-token";

fn marked(status: &str) -> String {
    let datum = |name: &str| format!("{MARK}{name}");
    json!({
        "sessionId": format!("{ID}watched"), "sessionType": datum("type"), "status": status,
        "accountKey": datum("account-key"), "expertName": datum("expert"),
        "expertEmail": datum("expert@example.com"), "expertUserKey": datum("user-key"),
        "partnerObject": datum("object"), "partnerObjectUrl": datum("object-url"),
        "startedAt": datum("no-time"), "accountName": datum("account"),
        "unattendedMachineName": datum("machine"), "unattendedMachineUuid": datum("uuid"),
        "customerName": datum("customer"), "customerEmail": datum("customer@example.com"),
        "customerJoinUrl": datum("join"), "notes": datum("notes"),
        "sessionRecordingUrl": datum("recording"), "sessionStartToken": datum("start"),
        "collaborators": [datum("collaborator"), {"name": datum("other"), "x": datum("y")}],
    })
    .to_string()
}

/// A vendor that puts markers into all its answers.
async fn vendor() -> Stub {
    let polled = std::sync::atomic::AtomicUsize::new(0);
    Stub::scripted(move |_, head| {
        let line = head.lines().next().unwrap_or_default();
        let path = line.split(' ').nth(1).unwrap_or_default();
        let refusal = json!({"errorCode": "Code", "msg": "MARK-message", "incident": "I-1"});
        let headers = ["location: https://MARK-host.example/MARK-path", "x-amzn-errortype: A"];
        if line.starts_with("CONNECT") {
            return answer("502 MARK-reason", &headers, refusal.to_string());
        }
        if path.contains("/oauth/token") {
            let fresh = json!({"access_token": "MARK-fresh", "refresh_token": "MARK-new"});
            return [ok(fresh.to_string()), vec![Step::Close]].concat();
        }
        if path.contains("systemLinks") {
            let registered = json!({
                "systemName": "MARK-system", "userEmail": "MARK-mail", "userToken": "MARK-token",
                "callbackURL": "MARK-callback", "systemDomain": "MARK-domain",
            });
            return ok(json!([registered]).to_string());
        }
        match path.rsplit('-').next().unwrap_or_default() {
            "ok" => ok(marked("active")),
            "watched" => match polled.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => ok(marked("waiting")),
                1..=3 => answer("500 MARK-reason", &headers, refusal.to_string()),
                _ => ok(marked("complete")),
            },
            "html" => ok("<html>MARK-page</html>"),
            "shape" => ok(r#"["MARK-shape"]"#),
            "status" => ok(marked("MARK-status")),
            "reset" => vec![Step::Reset],
            "cut" => vec![
                Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nMARK-cut".to_vec()),
                Step::Reset,
            ],
            "nohttp" => vec![Step::Send(b"MARK-nohttp\r\n\r\n".to_vec()), Step::Close],
            code => answer(&format!("{code} MARK-reason"), &headers, refusal.to_string()),
        }
    })
    .await
}

const ENDINGS: [&str; 22] = [
    "ok", "html", "shape", "status", "reset", "cut", "nohttp", "301", "400", "401", "403", "404",
    "405", "408", "409", "412", "418", "500", "502", "503", "504", "429",
];

/// The errors that callers received, with their reasons.
#[derive(Default)]
struct Told {
    text: String,
    reasons: Vec<String>,
}

impl Told {
    fn note(&mut self, status: &Status) {
        assert!(!status.message().contains(ID), "{status:?}");
        writeln!(self.text, "{status} {:?}", status.metadata()).unwrap();
        self.text += &String::from_utf8_lossy(status.details());
        self.reasons.push(reason(status));
    }
}

async fn drive(client: &mut RemoteSupportServiceClient<Channel>, token: &str) -> Told {
    let mut told = Told::default();
    for ending in ENDINGS {
        let id = format!("{ID}{ending}");
        if let Err(status) = client.get_session(signed(session(&id), token)).await {
            told.note(&status);
        }
        if let Err(status) = client.watch_session(signed(watch(&id), token)).await {
            told.note(&status);
        }
    }
    client.list_system_links(signed(links("MARK-domain"), token)).await.unwrap();
    let bad = format!("{ID}\u{7}");
    told.note(&client.get_session(signed(session(&bad), token)).await.unwrap_err());

    let mut forged = watch(&format!("{ID}ok"));
    forged.resume_token = "MARK-forged".into();
    told.note(&client.watch_session(signed(forged, token)).await.unwrap_err());

    let watched = signed(watch(&format!("{ID}watched")), token);
    let mut messages = client.watch_session(watched).await.unwrap().into_inner();
    let mut kinds = Vec::new();
    while let Some(message) = messages.message().await.unwrap() {
        kinds.push(message.event_type().as_str_name());
        told.text += &String::from_utf8_lossy(&stale_cause(&message));
    }
    assert!(kinds.contains(&"EVENT_TYPE_STALE"), "{kinds:?}");
    told
}

fn stale_cause(message: &gotoassist_grpc::proto::WatchSessionResponse) -> Vec<u8> {
    message.stale_cause.as_ref().map(prost::Message::encode_to_vec).unwrap_or_default()
}

/// Calls that are refused for their metadata.
async fn intrude(client: &mut RemoteSupportServiceClient<Channel>) -> Told {
    let mut told = Told::default();
    let mut twice = signed(session(&format!("{ID}ok")), TOKEN);
    twice.metadata_mut().append("authorization", "Bearer MARK-second".parse().unwrap());
    let bare = Request::new(GetSessionRequest { session_id: format!("{ID}ok") });
    let requests = ["Basic MARK-basic", "MARK-bare", "Bearer MARK- blank", "OAuth MARK-oauth"]
        .map(|token| signed(session(&format!("{ID}ok")), token));
    for mut request in requests.into_iter().chain([twice, bare]) {
        request.metadata_mut().insert("x-secret", "MARK-metadata".parse().unwrap());
        request.metadata_mut().insert("traceparent", "00-MARK-trace-01".parse().unwrap());
        told.note(&client.get_session(request).await.unwrap_err());
    }
    told
}

/// Collects all output of the process, and checks that it has no marker.
async fn search(serve: Serve, collector: &Collector, told: &Told) -> String {
    let pages = [serve.page("/metrics").await, serve.page("/").await].concat();
    let log = serve.stop().await;
    assert!(!collector.spans().is_empty());
    let traces = collector.text().replace("Span {", "\nSpan {");
    for (name, text) in [("page", &pages), ("log", &log), ("traces", &traces)] {
        for line in text.lines() {
            assert!(!line.contains(MARK) && !line.contains(ID), "{name}: {line}");
        }
    }
    assert!(!told.text.contains(MARK), "{}", told.text);
    log
}

const QUICK: [&str; 8] = [
    "--poll-waiting",
    "20ms",
    "--poll-active",
    "20ms",
    "--breaker-failures",
    "0",
    "--upstream-retries",
    "1",
];

#[tokio::test]
async fn a_callers_secrets_and_the_vendors_words_are_said_nowhere() {
    let vendor = vendor().await;
    let url = vendor.url().to_string();
    let given = ["--upstream-url", &url, "--upstream-rps", "1000", "--log-level", "trace"];
    let json = ["--log-format", "json", "--resume-key", "MARK-resume-key"];
    let collector = Collector::start().await;
    let traces = ["--otlp-endpoint", &collector.url()];
    let serve = Serve::start(&[&given, &QUICK[..], &json, &traces].concat()).await;
    let mut client = serve.client().await;
    let mut told = drive(&mut client, TOKEN).await;
    let refused = intrude(&mut client).await;
    assert!(refused.reasons.iter().all(|reason| reason == "CREDENTIAL_MISSING"));
    told.text += &refused.text;
    for reason in [
        "SESSION_NOT_FOUND",
        "CREDENTIAL_REJECTED",
        "UPSTREAM_MALFORMED_RESPONSE",
        "UPSTREAM_REDIRECT",
        "UPSTREAM_RATE_LIMITED",
        "UPSTREAM_INTERNAL",
        "UPSTREAM_UNAVAILABLE",
        "RESUME_TOKEN_INVALID",
        "ARGUMENT_INVALID",
    ] {
        assert!(told.reasons.iter().any(|told| told == reason), "{reason}: {:?}", told.reasons);
    }
    // A client that speaks another protocol sends a secret.
    let mut stranger = TcpStream::connect(serve.address()).await.unwrap();
    stranger.write_all(b"GET /MARK-path?MARK-query HTTP/1.1\r\nhost: MARK-\r\n\r\n").await.unwrap();
    // This watch is open until the process ends.
    let open = client.watch_session(signed(watch(&format!("{ID}ok")), TOKEN)).await.unwrap();
    let log = search(serve, &collector, &told).await;
    drop(open);
    // Checks that the log really has these lines.
    for fact in ["call failed", "asked GoToAssist", "CREDENTIAL_MISSING"] {
        assert!(log.contains(fact), "{fact} in {log}");
    }
}

#[tokio::test]
async fn the_services_own_secrets_are_said_nowhere() {
    let vendor = vendor().await;
    let (url, token_url) = (vendor.url().to_string(), vendor.url().join("/oauth/token").unwrap());
    let folder = Folder::new();
    let refresh = folder.write("refresh-token", "MARK-refresh-token\n");
    let secret = folder.write("secret", "MARK-client-secret\n");
    let own = ["--credentials", "service", "--client-id", "MARK-client-id"];
    let files = ["--client-secret-file", &secret, "--refresh-token-file", &refresh];
    let urls = ["--upstream-url", &url, "--token-url", token_url.as_str()];
    let log = ["--log-level", "trace", "--upstream-rps", "1000"];
    let collector = Collector::start().await;
    let traces = ["--otlp-endpoint", &collector.url()];
    let serve = Serve::start(&[&own[..], &files, &urls, &log, &QUICK, &traces].concat()).await;
    let mut client = serve.client().await;
    let told = drive(&mut client, TOKEN).await;
    assert_eq!(fs::read_to_string(&refresh).unwrap().trim(), "MARK-new");
    let log = search(serve, &collector, &told).await;
    assert!(log.contains("new refresh token"), "{log}");
}

#[tokio::test]
async fn the_password_of_a_proxy_and_a_broken_tls_are_said_nowhere() {
    let vendor = vendor().await;
    let address = vendor.url().authority().to_owned();
    let proxy = format!("http://MARK-user:MARK-password@{address}");
    let plain = format!("https://{address}/G2A/rest/v1");
    let behind = ["--upstream-url", "https://127.0.0.1:9/rest", "--upstream-proxy", &proxy];
    for given in [&behind[..], &["--upstream-url", &plain]] {
        let common = ["--log-level", "trace", "--upstream-retries", "0"];
        let collector = Collector::start().await;
        let traces = ["--otlp-endpoint", &collector.url()];
        let serve = Serve::start(&[given, &common, &traces].concat()).await;
        let mut client = serve.client().await;
        let call = client.get_session(signed(session(&format!("{ID}ok")), TOKEN));
        let mut told = Told::default();
        told.note(&soon(call).await.unwrap_err());
        assert_eq!(told.reasons, ["UPSTREAM_CONNECT_FAILED"]);
        search(serve, &collector, &told).await;
    }
}
