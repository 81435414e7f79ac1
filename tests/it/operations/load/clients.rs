//! Trouble with some clients, which cancel calls, or send huge credentials or half requests. At the
//! same time nobody reads stderr.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    super::{session, signed},
    Client, Load, id,
};
use crate::kit::vendor::Vendor;

/// Watches on the connection of the client that cancels calls.
const EXPOSED: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_some_clients_is_not_noticed_by_a_thousand_watches_and_all_calls() {
    let vendor = Vendor::start().await;
    let mut serve = Load::serve(&vendor.rest_url, &[]).await;
    serve.stop_reading().await;
    let mut load = Load::start(&vendor, &serve).await;
    let canceller = serve.client().await;
    load.watch(&canceller, EXPOSED).await;

    let mut trouble = JoinSet::new();
    trouble.spawn(cancel_calls(canceller));
    trouble.spawn(call_with_huge_credentials(serve.client().await));
    trouble.spawn(send_half_requests(serve.address(), serve.admin));
    load.is_undisturbed_by(async {}).await;
    if let Some(ended) = trouble.try_join_next() {
        panic!("the trouble was over too early: {ended:?}");
    }
    assert!(serve.page("/livez").await.starts_with("HTTP/1.1 200"));

    // During the trouble, every watch still receives the end of its session.
    load.end(&vendor).await;
    trouble.shutdown().await;
}

/// Sends 200 calls and cancels all of them, again and again.
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

/// Makes calls with valid credentials of 16 to 64 KB.
async fn call_with_huge_credentials(mut client: Client) {
    for kib in [16, 32, 48, 63].into_iter().cycle() {
        let credential = format!("Bearer {}", "x".repeat(kib * 1024));
        client.get_session(signed(session(&id(0)), &credential)).await.expect("it is taken");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Opens calls without a message and admin requests without an end, and leaves them open.
async fn send_half_requests(address: SocketAddr, admin: SocketAddr) {
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
