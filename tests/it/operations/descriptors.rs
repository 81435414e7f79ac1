//! A process with few file descriptors.

use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};

use std::time::Duration;

use super::{Serve, session, signed, soon};
use crate::kit::stub::{Stub, ok};

#[tokio::test]
async fn the_soft_limit_is_raised_to_the_hard_one_and_what_it_leaves_no_room_for_is_told() {
    let limits = "ulimit -Sn 120 && ulimit -Hn 4096";
    let serve = Serve::start_after(limits, &["--upstream-url", "http://127.0.0.1:9"]).await;
    let metrics = serve.page("/metrics").await;
    assert!(metrics.contains("\nprocess_max_fds 4096\n"), "{metrics}");
    let log = serve.stop().await;
    let told = log.lines().filter(|line| line.contains("--max-connections is 10000"));
    assert_eq!(told.count(), 1, "{log}");
}

#[tokio::test]
async fn enough_descriptors_are_not_worth_a_word() {
    let arguments = ["--upstream-url", "http://127.0.0.1:9", "--max-connections", "100"];
    let serve = Serve::start_after("ulimit -n 4096", &arguments).await;
    let log = serve.stop().await;
    assert!(!log.contains("WARN"), "{log}");
}

/// Idle connections and half requests use only their share of the file descriptors.
#[tokio::test]
async fn clients_without_end_leave_descriptors_for_the_vendor_and_the_probes() {
    let vendor = Stub::always(ok(r#"{"status":"active"}"#)).await;
    let url = vendor.url().to_string();
    let serve = Serve::start_after("ulimit -n 120", &["--upstream-url", &url]).await;
    let mut client = serve.client().await;
    let mut open = Vec::new();
    for _ in 0..180 {
        let mut half = TcpStream::connect(serve.admin).await.unwrap();
        half.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n").await.unwrap();
        open.push(half);
    }
    for _ in 0..150 {
        open.push(TcpStream::connect(serve.address()).await.unwrap());
    }
    // The client and 29 of the other connections are accepted.
    let all_came = async {
        let refused = "\ngotoassist_connections_cut_total{cause=\"too_many\"} 121\n";
        loop {
            let metrics = serve.page("/metrics").await;
            if metrics.contains(refused) {
                break metrics;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let metrics = soon(all_came).await;
    assert!(metrics.contains("\ngotoassist_connections 30\n"), "{metrics}");
    client.get_session(signed(session("1"), "Bearer a")).await.unwrap();
    assert!(serve.page("/livez").await.starts_with("HTTP/1.1 200"));
    let log = serve.stop().await;
    assert!(!log.contains("cannot accept"), "{log}");
}
