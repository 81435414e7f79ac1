//! The endpoint as an operator runs it: flags, secrets that change, numbers, the log, the drain.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{OLDER, PATH, SECRET, code, exchange, post};
use crate::kit::{
    folder::Folder,
    process::{Serve, binary, run},
    soon,
};

const MARK: &str = "MARK-";

const OLDER_SECRET: &str = "gotoassist_callbacks_with_older_secret_total";

/// `serve` with the endpoint, and its file of secrets.
async fn start(secrets: &str, flags: &[&str]) -> (Serve, SocketAddr, Folder) {
    let folder = Folder::new();
    let file = folder.write("secrets", secrets);
    let own = ["--upstream-url=http://127.0.0.1:9", "--callback-listen=127.0.0.1:0"];
    let serve =
        Serve::start(&[&own, &["--callback-secret-file", &*file][..], flags].concat()).await;
    let address = serve.callback.unwrap();
    (serve, address, folder)
}

async fn post_code(address: SocketAddr, secret: &str) -> u16 {
    code(&exchange(address, &post(secret, "", b"sessionId=1")).await)
}

async fn count(serve: &Serve, result: &str) -> u32 {
    let page = serve.page("/metrics").await;
    let name = format!("gotoassist_callbacks_total{{result=\"{result}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_secret_file_that_cannot_be_used_is_one_clear_line_and_exit_2() {
    let folder = Folder::new();
    for (text, told) in [
        (
            "fifteen-bytes-0",
            "line 1 of the file of --callback-secret-file has a secret of less than",
        ),
        ("# old\n\nsixteen-bytes-00\nshort", "line 4 of"),
        ("sixteen-bytes+00", "line 1 of the file of --callback-secret-file has a character"),
        ("# nobody\n", "the file of --callback-secret-file has no secret"),
    ] {
        let file = folder.write("secrets", text);
        let flags = ["--callback-listen", "127.0.0.1:0", "--callback-secret-file", &file];
        for command in [&["serve"][..], &["serve", "--check"]] {
            let (status, stdout, stderr) = run(binary(&[command, &flags].concat())).await;
            assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
            assert!(stderr.starts_with(&format!("error: {told}")), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(!stderr.contains("bytes-0") && !stderr.contains("bytes+"), "{stderr}");
        }
    }
    let missing = ["serve", "--callback-listen=127.0.0.1:0", "--callback-secret-file=/no/file"];
    for flags in [&missing[..], &missing[..2], &[missing[0], missing[2]]] {
        let (status, _, stderr) = run(binary(flags)).await;
        assert_eq!((status, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains("--callback-secret-file"), "{stderr}");
    }
}

#[tokio::test]
async fn secrets_are_rotated_without_a_restart() {
    let (serve, address, folder) = start(OLDER, &[]).await;
    assert_eq!(post_code(address, OLDER).await, 204);
    assert_eq!(post_code(address, SECRET).await, 404);

    // Both are valid, until the sessions with the older one are over.
    folder.write("secrets", format!("{SECRET}\n{OLDER}\n"));
    serve.signal("-HUP").await;
    serve.until_logged("callback secrets reloaded").await;
    assert_eq!(post_code(address, SECRET).await, 204);
    assert!(serve.metric(OLDER_SECRET).await < 0.5);
    assert_eq!(post_code(address, OLDER).await, 204);
    assert!(serve.metric(OLDER_SECRET).await > 0.5);

    folder.write("secrets", "short\n");
    serve.until_logged("callback secrets not reloaded; the earlier secrets stay valid").await;
    assert_eq!(post_code(address, SECRET).await, 204);
    assert_eq!(post_code(address, OLDER).await, 204);

    // Nobody tells it.
    folder.write("secrets", SECRET);
    let revoked = async {
        while post_code(address, OLDER).await != 404 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    soon(revoked).await;
    assert_eq!(post_code(address, SECRET).await, 204);
    serve.stop().await;
}

#[tokio::test]
async fn callbacks_are_counted_by_result_and_the_status_page_tells_that_they_come() {
    let (serve, address, _folder) = start(SECRET, &[]).await;
    assert!(
        serve.page("/").await.contains("Callbacks are on: 0 since the start, the latest never")
    );
    let large = vec![b' '; 65 * 1024];
    for body in [&b"sessionId=1"[..], b"hello", &large] {
        assert_eq!(code(&exchange(address, &post(SECRET, "", body)).await), 204);
    }
    let path = format!("GET {PATH}{SECRET} HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(code(&exchange(address, path.as_bytes()).await), 405);
    assert_eq!(code(&exchange(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await), 404);
    assert_eq!(post_code(address, "wrong-and-long-enough").await, 404);
    let mut cut = TcpStream::connect(address).await.unwrap();
    let request = post(SECRET, "", b"sessionId=1");
    cut.write_all(&request[..request.len() - 1]).await.unwrap();
    drop(cut);

    let results = [
        "accepted",
        "unreadable",
        "too_large",
        "wrong_method",
        "wrong_path",
        "wrong_secret",
        "incomplete",
    ];
    for result in results {
        soon(async { while count(&serve, result).await == 0 {} }).await;
        assert_eq!(count(&serve, result).await, 1, "{result}");
    }
    while count(&serve, "merged").await == 0 {
        exchange(address, &post(SECRET, "", b"sessionId=1")).await;
    }
    let page = serve.page("/").await;
    assert!(page.contains("Callbacks are on: ") && !page.contains("the latest never"), "{page}");
    let plain = Serve::start(&["--upstream-url=http://127.0.0.1:9"]).await;
    assert!(!plain.page("/").await.contains("Callbacks are on"));
    assert_eq!(plain.callback, None);
    plain.stop().await;
    serve.stop().await;
}

#[tokio::test]
async fn more_sessions_than_can_wait_are_counted_and_dropped() {
    let (serve, address, _folder) = start(SECRET, &[]).await;
    let mut number = 0;
    while count(&serve, "rate_limited").await == 0 {
        for _ in 0..50 {
            let names: Vec<_> = (0..8).map(|each| format!("sessionId={number}-{each}")).collect();
            let request = post(SECRET, "", names.join("&").as_bytes());
            assert_eq!(code(&exchange(address, &request).await), 204);
            number += 1;
        }
        assert!(number < 10_000);
    }
    serve.stop().await;
}

#[tokio::test]
async fn nothing_of_a_callback_is_said_anywhere() {
    let secret = format!("{MARK}secret-0123456789");
    let (serve, address, folder) = start(&secret, &["--log-level=trace"]).await;
    let json =
        format!(r#"{{"sessionId":"{MARK}1","customerName":"{MARK}name","token":"{MARK}t"}}"#);
    for (secret, body) in [
        (secret.as_str(), json.as_str()),
        (&secret, "sessionId=MARK-2&notes=MARK-notes"),
        (&secret, "MARK-unreadable"),
        ("MARK-wrong-secret-and-path", "MARK-body"),
    ] {
        exchange(address, &post(secret, "x-mark: MARK-header\r\n", body.as_bytes())).await;
    }
    exchange(address, b"POST /MARK-path?MARK-query HTTP/1.1\r\nhost: MARK-host\r\n\r\n").await;
    exchange(address, b"MARK-no-http\r\n\r\n").await;
    folder.write("secrets", "MARK-short\n");
    serve.until_logged("callback secrets not reloaded").await;
    let pages = [serve.page("/metrics").await, serve.page("/").await].concat();
    let log = serve.stop().await;
    for text in [&pages, &log] {
        assert!(!text.contains(MARK), "{text}");
    }
}

#[tokio::test]
async fn many_wrong_secrets_are_one_line_of_the_log() {
    let (serve, address, _folder) = start(SECRET, &[]).await;
    for _ in 0..99 {
        assert_eq!(post_code(address, "wrong-and-long-enough").await, 404);
    }
    // A scanner that does not know the path is nothing to act on.
    for _ in 0..50 {
        exchange(address, b"GET /.env HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    for _ in 0..300 {
        post_code(address, "wrong-and-long-enough").await;
    }
    serve.until_logged("many callbacks came with a wrong secret").await;
    let log = serve.stop().await;
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
}

#[tokio::test]
async fn senders_that_never_finish_keep_neither_the_port_nor_the_process() {
    let (mut serve, address, _folder) = start(SECRET, &[]).await;
    let request = post(SECRET, "", b"sessionId=1");
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(&request[..request.len() - 1]).await.unwrap();
        slow.push(socket);
    }
    assert_eq!(post_code(address, SECRET).await, 204);
    let start = Instant::now();
    serve.signal("-TERM").await;
    soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    assert_eq!(serve.exit_code().await, Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn callbacks_are_taken_until_the_drain_delay_is_over() {
    let (mut serve, address, _folder) = start(SECRET, &["--drain-delay=1s"]).await;
    serve.signal("-TERM").await;
    serve.until_logged("draining").await;
    assert_eq!(post_code(address, SECRET).await, 204);
    assert_eq!(serve.exit_code().await, Some(0));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn large_and_hostile_bodies_take_little_memory() {
    const MIB: f64 = 1024.0 * 1024.0;
    let (serve, address, _folder) = start(SECRET, &[]).await;
    let kib64 = |unit: &str| unit.repeat(64 * 1024 / unit.len()).into_bytes();
    let bodies = [
        kib64(r#"{"a":"#),
        kib64("["),
        [b"[".to_vec(), kib64(r#"{"token":"x"},"#)].concat(),
        kib64("sessionId=x&"),
        kib64("%zz="),
        [br#"{"sessionId":""#.to_vec(), kib64(r"\u0041")].concat(),
        vec![b'x'; 4 * 1024 * 1024],
    ];
    post_code(address, SECRET).await;
    let before = serve.metric("process_resident_memory_bytes").await;
    for _ in 0..8 {
        let requests = bodies.iter().flat_map(|body| [body; 8]);
        let sent = requests.map(|body| {
            let request = post(SECRET, "", body);
            async move { exchange(address, &request).await }
        });
        for answer in futures_util::future::join_all(sent).await {
            assert_eq!(code(&answer), 204);
        }
    }
    let grown = (serve.metric("process_resident_memory_bytes").await - before) / MIB;
    assert!(grown < 32.0, "{grown} MiB");
    serve.stop().await;
}
