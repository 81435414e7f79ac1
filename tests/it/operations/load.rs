//! Many watches and calls, with all kinds of trouble beside them at once: a stderr that nobody reads, a
//! client that cancels its calls, huge credentials, half requests. Nobody else notices.

use std::time::Duration;

use futures_util::future::join_all;
use gotoassist_grpc::{
    config::SimulateConfig,
    proto::{WatchSessionResponse, remote_support_service_client::RemoteSupportServiceClient},
    simulator::{SessionScript, Simulator},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tonic::{Status, Streaming, transport::Channel};

use super::{LIMIT, Serve, session, signed, watch};

const SESSIONS: usize = 20;
const WATCHES: usize = 1_000;
const CONNECTIONS: usize = 4;
/// Watches on the connection of the client that cancels its calls.
const EXPOSED: usize = 10;

/// 100 calls a second.
const PACE: Duration = Duration::from_millis(10);
const CALLS: u32 = 500;

/// A call takes milliseconds, but the machine may be busy with other tests. Whoever is kept waiting by the
/// trouble waits longer.
const P95: Duration = Duration::from_secs(10);

type Client = RemoteSupportServiceClient<Channel>;
type Messages = Streaming<WatchSessionResponse>;

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_some_clients_is_not_noticed_by_a_thousand_watches_and_all_calls() {
    let simulator = Simulator::bind(&SimulateConfig::on_free_port()).await.unwrap();
    let (vendor, url) = (simulator.control(), simulator.rest_url());
    let simulating = tokio::spawn(simulator.run(std::future::pending()));
    let rest = |status: &str| {
        for number in 0..SESSIONS {
            vendor.put_session(SessionScript::resting(id(number), status)).unwrap();
        }
    };
    rest("active");
    let quick = ["--upstream-rps=5000", "--upstream-burst=5000", "--poll-active=1s"];
    let mut serve = Serve::start(&[&["--upstream-url", &url][..], &quick].concat()).await;
    serve.stop_reading().await;

    let mut watches = JoinSet::new();
    let canceller = serve.client().await;
    for _ in 0..CONNECTIONS {
        open_watches(&mut watches, &serve.client().await, WATCHES / CONNECTIONS).await;
    }
    open_watches(&mut watches, &canceller, EXPOSED).await;

    let mut trouble = JoinSet::new();
    trouble.spawn(cancel_calls(canceller));
    trouble.spawn(call_with_huge_credentials(serve.client().await));
    trouble.spawn(send_half_requests(serve.address, serve.admin));
    let mut times = call(serve.client().await).await;
    times.sort_unstable();
    let p95 = times[times.len() * 95 / 100];
    assert!(p95 < P95, "{p95:?}");
    if let Some(ended) = trouble.try_join_next() {
        panic!("the trouble was over too early: {ended:?}");
    }
    if let Some(ended) = watches.try_join_next() {
        panic!("a watch ended: {ended:?}");
    }
    assert!(serve.page("/livez").await.starts_with("HTTP/1.1 200"));

    // In the midst of it, all still hear what there is to hear.
    rest("complete");
    for end in timeout(LIMIT, watches.join_all()).await.unwrap() {
        end.unwrap();
    }
    trouble.shutdown().await;
    simulating.abort();
}

fn id(number: usize) -> String {
    format!("session-{}", number % SESSIONS)
}

/// Opens watches, each of which has had its first message, and follows them to their end.
async fn open_watches(watches: &mut JoinSet<Result<(), Status>>, client: &Client, count: usize) {
    let open = (0..count).map(|number| {
        let mut client = client.clone();
        async move {
            let request = signed(watch(&id(number)), "Bearer watcher");
            let mut messages = client.watch_session(request).await.unwrap().into_inner();
            messages.message().await.unwrap().unwrap();
            messages
        }
    });
    for messages in timeout(LIMIT, join_all(open)).await.unwrap() {
        watches.spawn(until_end(messages));
    }
}

/// Gives `Ok` if the session's end was told.
async fn until_end(mut messages: Messages) -> Result<(), Status> {
    let mut is_terminal = false;
    while let Some(message) = messages.message().await? {
        is_terminal = message.terminal;
    }
    assert!(is_terminal, "OK if and only if the last message was terminal");
    Ok(())
}

/// Calls at an even pace. All must succeed; gives the time that each took.
async fn call(client: Client) -> Vec<Duration> {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        pace.tick().await;
        let mut client = client.clone();
        calls.spawn(async move {
            let (start, id) = (Instant::now(), id(number.try_into().unwrap()));
            let call = client.get_session(signed(session(&id), "Bearer caller"));
            timeout(LIMIT, call).await.expect("an answer").expect("a good one");
            start.elapsed()
        });
    }
    calls.join_all().await
}

/// Sends 200 calls, and cancels them all at once, again and again.
async fn cancel_calls(client: Client) {
    loop {
        let calls = (0..200).map(|number| {
            let mut client = client.clone();
            async move { client.get_session(signed(session(&id(number)), "Bearer hasty")).await }
        });
        let _ = timeout(Duration::from_millis(20), join_all(calls)).await;
        sleep(Duration::from_secs(1)).await;
    }
}

/// Calls with credentials of 16 to 64 KB, which are good.
async fn call_with_huge_credentials(mut client: Client) {
    for kib in [16, 32, 48, 63].into_iter().cycle() {
        let credential = format!("Bearer {}", "x".repeat(kib * 1024));
        client.get_session(signed(session(&id(0)), &credential)).await.expect("it is taken");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Opens calls without a message, and requests to the admin port without an end, and leaves them so.
async fn send_half_requests(address: std::net::SocketAddr, admin: std::net::SocketAddr) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut send, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut open = Vec::new();
    for _ in 0..200 {
        let path = "gotoassist.remotesupport.v1.RemoteSupportService/GetSession";
        let request = http::Request::post(format!("http://localhost/{path}"))
            .header("content-type", "application/grpc")
            .header("authorization", "Bearer half");
        send = send.ready().await.unwrap();
        open.push(send.send_request(request.body(()).unwrap(), false).unwrap());
    }
    let mut half = Vec::new();
    for _ in 0..100 {
        let mut socket = TcpStream::connect(admin).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n").await.unwrap();
        half.push(socket);
    }
    let _ = connection.await;
}
