//! What is stuck outside and inside: a stderr that nobody reads (a stalled log driver, a supervisor
//! that does not read, Ctrl-S), and a file system that does not answer.

use std::{fmt::Write as _, fs, time::Duration};

use ring::digest::{SHA256, digest};

use tokio::{
    process::Command,
    time::{Instant, timeout},
};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use super::{LIMIT, Serve, reason, session, signed};

/// More lines than a pipe takes, which is 64 KiB on Linux.
const CALLS: usize = 2_000;

/// What `Serve::start` gives to `--drain-grace`, and a little for the process to be gone.
const GRACE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_log_that_nobody_reads_stops_neither_calls_nor_probes_nor_the_end() {
    let mut serve = Serve::start(&["--upstream-url", "http://127.0.0.1:9"]).await;
    // The pipe stays open, and fills.
    serve.stop_reading().await;

    let mut client = serve.client().await;
    for number in 0..CALLS {
        let call = timeout(LIMIT, client.get_session(session("1"))).await;
        let refused = call.unwrap_or_else(|_| panic!("call {number} hangs")).unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let channel = Channel::from_shared(serve.url()).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let asked = HealthCheckRequest { service: String::new() };
    let answer = timeout(LIMIT, health.check(asked)).await.unwrap().unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    assert!(serve.page("/livez").await.starts_with("HTTP/1.1 200"));

    ends_within_the_grace(&mut serve).await;
}

/// Reading the file of the callers' tokens blocks its worker for ever, as on a dead network mount.
#[tokio::test]
async fn a_worker_that_is_stuck_shows_in_livez_and_does_not_keep_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    let hash = digest(&SHA256, b"caller");
    let hash = hash.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    fs::write(&path, hash).unwrap();
    let tokens = path.display().to_string();
    let mut serve = Serve::start(&[
        "--upstream-url=http://127.0.0.1:9",
        "--credentials=service",
        "--client-id=a",
        "--client-secret=b",
        "--refresh-token=c",
        "--token-url=http://127.0.0.1:9",
        "--client-tokens-file",
        &tokens,
    ])
    .await;
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().await.unwrap().success());

    let mut client = serve.client().await;
    let stuck = tokio::spawn(async move {
        // The file is looked at once a second.
        loop {
            let _ = client.get_session(signed(session("1"), "Bearer caller")).await;
        }
    });
    let dead = async {
        loop {
            let answer = serve.page("/livez").await;
            if answer.starts_with("HTTP/1.1 503") {
                break answer;
            }
        }
    };
    let answer = timeout(LIMIT, dead).await.unwrap();
    assert!(answer.contains("no progress: worker-"), "{answer}");
    ends_within_the_grace(&mut serve).await;
    stuck.abort();
}

/// As long as its request is open, nothing but a drain ends it.
#[tokio::test]
async fn a_drain_waits_for_no_stream_whose_client_may_send_more() {
    let mut serve = Serve::start(&["--upstream-url=http://127.0.0.1:9"]).await;
    let channel = Channel::from_shared(serve.url()).unwrap();
    let mut reflection = ServerReflectionClient::new(channel.connect().await.unwrap());
    let open = reflection.server_reflection_info(tokio_stream::pending()).await;
    let mut open = open.unwrap().into_inner();

    let start = Instant::now();
    ends_within_the_grace(&mut serve).await;
    assert!(start.elapsed() < GRACE / 2, "{:?}", start.elapsed());
    let end = timeout(LIMIT, open.message()).await.unwrap().unwrap_err();
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "SERVER_DRAINING"));
}

async fn ends_within_the_grace(serve: &mut Serve) {
    let start = Instant::now();
    serve.signal("-TERM").await;
    let code = serve.exit_code().await;
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
    assert_eq!(code, Some(0));
}
