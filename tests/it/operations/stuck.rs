//! Blocked I/O: a stderr that nobody reads (a stalled log driver, a blocked supervisor, Ctrl-S),
//! and a file system that does not answer.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use gotoassist_grpc::server::Server;
use ring::digest::{SHA256, digest};
use tokio::{
    net::unix::pipe,
    process::Command,
    runtime,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use super::{LIMIT, Serve, reason, session, signed};
use crate::kit::harness::serve_config;

/// More lines than a pipe holds, which is 64 KiB on Linux.
const CALLS: usize = 2_000;

/// The `--drain-grace` of `Serve::start`, and a margin for the end of the process.
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

/// A read of the file of the callers' tokens blocks for ever, as on a dead network mount.
#[tokio::test]
async fn a_file_that_cannot_be_read_to_its_end_keeps_neither_calls_nor_the_process() {
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

    // The pipe can be opened for writing as soon as the service reads it. Nothing is ever written.
    let being_read = async {
        loop {
            if let Ok(pipe) = pipe::OpenOptions::new().open_sender(&path) {
                break pipe;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _silent = timeout(LIMIT, being_read).await.unwrap();
    let mut client = serve.client().await;
    for token in ["Bearer stranger", "Bearer caller"].repeat(20) {
        let call = client.get_session(signed(session("1"), token));
        let refused = timeout(LIMIT, call).await.unwrap().unwrap_err();
        let is_known = reason(&refused) != "CALLER_NOT_AUTHENTICATED";
        assert_eq!(is_known, token == "Bearer caller", "{refused:?}");
    }
    assert!(serve.page("/livez").await.starts_with("HTTP/1.1 200"));
    ends_within_the_grace(&mut serve).await;
}

#[test]
fn workers_that_make_no_progress_show_in_livez_which_answers_all_the_same() {
    const WORKERS: usize = 2;
    let mut runtime = runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS).enable_all().build().unwrap();
    let config = serve_config(&["--listen=127.0.0.1:0", "--upstream-url=http://127.0.0.1:9"]);
    let server = runtime.block_on(Server::bind(config)).unwrap();
    let admin = server.admin_addr().unwrap();
    let _serving = runtime.spawn(server.run(std::future::pending()));
    let until = |expected: &str| {
        let start = Instant::now();
        loop {
            let mut socket = TcpStream::connect(admin).unwrap();
            socket.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            if answer.starts_with(expected) {
                break answer;
            }
            assert!(start.elapsed() < LIMIT, "{answer}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    until("HTTP/1.1 200");

    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    for _ in 0..WORKERS {
        let gate = gate.clone();
        runtime.spawn(async move { drop(gate.lock().unwrap()) });
    }
    assert!(until("HTTP/1.1 503").contains("no progress: workers"));
    drop(closed);
    until("HTTP/1.1 200");
}

/// While the request of a reflection stream is open, only a drain ends the stream.
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
