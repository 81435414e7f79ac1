//! How a replica reaches Redis: user and password, TLS, and a Redis that is slow, refuses or is not
//! there.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use tonic::Code;

use super::{
    ms,
    redis::{Redis, free_port},
};
use crate::kit::{
    certificate::Authority,
    process::Serve,
    project::root,
    request::{authorized, session},
    soon,
    vendor::Vendor,
};

async fn vendor() -> Vendor {
    let vendor = Vendor::start().await;
    vendor.put_session(gotoassist_grpc::simulator::SessionScript::resting("s", "active")).unwrap();
    vendor
}

async fn replica(vendor: &Vendor, flags: &[String]) -> Serve {
    Serve::before(vendor, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// Makes a call, and returns how long it took.
async fn call(serve: &Serve) -> Duration {
    let began_at = Instant::now();
    soon(serve.client().await.get_session(authorized("a", session("s")))).await.unwrap();
    began_at.elapsed()
}

async fn until_joined(serve: &Serve) {
    soon(async {
        while serve.metric("gotoassist_fleet_joined").await < 1.0 {
            sleep(ms(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_rights_of_the_documentation_are_enough() {
    let page = std::fs::read_to_string(root().join("docs/fleet.md")).unwrap();
    let acl = page.lines().find(|line| line.trim().starts_with("user gotoassist ")).unwrap();
    let acl = acl.trim().replace("PASSWORD", "correct-horse");
    let Some(redis) =
        Redis::with(|folder| vec!["--aclfile".to_owned(), folder.write("acl", acl)]).await
    else {
        return;
    };
    let vendor = vendor().await;
    let mut flags = redis.replica_flags();
    flags.push("--fleet-user=gotoassist".to_owned());
    flags
        .push(format!("--fleet-password-file={}", redis.folder.write("password", "correct-horse")));
    let serve = replica(&vendor, &flags).await;
    call(&serve).await;
    until_joined(&serve).await;
    flags.push(format!("--fleet-password-file={}", redis.folder.write("password", "wrong")));
    let refused = replica(&vendor, &flags[..flags.len() - 1]).await;
    refused.until_logged("refused").await;
    assert!(refused.page("/").await.contains("sends no requests until Redis answers"));
    let log = [serve.stop().await, refused.stop().await].concat();
    assert!(!log.contains("horse") && !log.contains("wrong"), "{log}");
}

#[tokio::test]
async fn a_replica_reaches_redis_through_tls() {
    let authority = Authority::new();
    let issued = authority.issue("localhost");
    let with_tls = |folder: &crate::kit::folder::Folder| {
        let certificate = folder.write("tls.crt", issued.pem());
        let key = folder.write("tls.key", issued.key_pem());
        let port = free_port().to_string();
        folder.write("tls-port", &port);
        let flags = [
            ["--tls-port", &port],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", "no"],
        ];
        flags.concat().into_iter().map(String::from).collect()
    };
    let Some(redis) = Redis::with(with_tls).await else { return };
    let vendor = vendor().await;
    let port = std::fs::read_to_string(redis.folder.path("tls-port")).unwrap();
    let mut flags = redis.replica_flags();
    flags[0] = format!("--fleet-url=rediss://localhost:{port}");
    let stranger = replica(&vendor, &flags).await;
    stranger.until_logged("Redis does not answer in time").await;
    flags.push(format!("--fleet-ca-file={}", redis.folder.write("ca.crt", authority.pem())));
    let serve = replica(&vendor, &flags).await;
    call(&serve).await;
    until_joined(&serve).await;
}

#[tokio::test]
async fn a_slow_redis_delays_calls_little() {
    let Some(redis) = Redis::start().await else { return };
    let (vendor, way) = (vendor().await, SlowWay::to(redis.port).await);
    let mut flags = redis.replica_flags();
    flags[0] = format!("--fleet-url=redis://127.0.0.1:{}", way.port);
    let serve = replica(&vendor, &flags).await;
    call(&serve).await;
    for (delay, limit) in [(0, 300), (25, 500), (250, 2500)] {
        way.delay.send_replace(ms(delay));
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(call(&serve).await);
            sleep(ms(300)).await;
        }
        assert!(waits.iter().all(|wait| *wait <= ms(limit)), "{delay} ms: {waits:?}");
    }
    assert!(serve.page("/").await.contains("DEGRADED"));
    way.delay.send_replace(ms(0));
    until_joined(&serve).await;
}

#[tokio::test]
async fn a_replica_that_never_reached_redis_sends_nothing_and_joins_later() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.kill().await;
    let vendor = vendor().await;
    let serve = replica(&vendor, &redis.replica_flags()).await;
    serve.until_logged("Redis does not answer in time").await;
    let mut request = authorized("a", session("s"));
    request.set_timeout(ms(500));
    let refusal = soon(serve.client().await.get_session(request)).await.unwrap_err();
    assert!(matches!(refusal.code(), Code::Cancelled | Code::DeadlineExceeded), "{refusal:?}");
    assert_eq!(vendor.counters().requests, 0);
    redis.restart().await;
    call(&serve).await;
    until_joined(&serve).await;
}

/// A way to Redis that delays each direction.
struct SlowWay {
    port: u16,
    delay: watch::Sender<Duration>,
    _running: JoinSet<()>,
}

impl SlowWay {
    async fn to(redis: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (delay, delayed) = watch::channel(Duration::ZERO);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let Ok(far) = TcpStream::connect(("127.0.0.1", redis)).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                connections.spawn(carry(near_in, far_out, delayed.clone()));
                connections.spawn(carry(far_in, near_out, delayed.clone()));
            }
        });
        Self { port, delay, _running: running }
    }
}

async fn carry(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    delay: watch::Receiver<Duration>,
) {
    let mut bytes = vec![0; 65536];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let wait = *delay.borrow();
        sleep(wait).await;
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
