//! Makes calls and watches, and counts their results.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::proto::{
    GetSessionRequest, WatchSessionRequest,
    remote_support_service_client::RemoteSupportServiceClient,
};
use anyhow::{Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::uri::PathAndQuery;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, interval, sleep, timeout},
};
use tonic::{
    Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// The id in every session of the vendor.
const SESSION_ID: &[u8] = b"250040353";
/// Deadline of a call.
const DEADLINE: Duration = Duration::from_secs(10);

/// A channel with one connection.
pub async fn connect(address: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true).connect().await?)
}

/// The session of each call.
#[derive(Clone, Copy, Debug)]
pub enum Session {
    /// A different session in each call.
    Distinct,
    /// The same session in each call.
    Shared,
    /// The same session in each call, from a watch if its state is at most a minute old.
    Watched,
}

/// The part of the answer to `GetSession` that is compared: the session as bytes. Envoy's answer is
/// the session itself, so with Envoy this is the session's id.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(bytes = "bytes", tag = "1")]
    session: Bytes,
}

/// Requests sessions, and counts the requests.
#[derive(Clone)]
pub struct Caller {
    client: Grpc<Channel>,
    session: Session,
    number: Arc<AtomicUsize>,
}

impl Caller {
    /// A caller that shares `number` with others, so that each call has a different session.
    pub fn new(channel: Channel, session: Session, number: Arc<AtomicUsize>) -> Self {
        Self { client: Grpc::new(channel), session, number }
    }

    /// Makes one call.
    pub async fn call(&mut self) -> Result<(), Status> {
        let session_id = match self.session {
            Session::Distinct => {
                (250_000_000 + self.number.fetch_add(1, Ordering::Relaxed)).to_string()
            }
            Session::Shared | Session::Watched => "shared".to_owned(),
        };
        let mut request = authorized(GetSessionRequest { session_id });
        if let Session::Watched = self.session {
            request.metadata_mut().insert("max-staleness", MetadataValue::from_static("60s"));
        }
        request.set_timeout(DEADLINE);
        let unavailable = |error| Status::unavailable(format!("not ready: {error}"));
        self.client.ready().await.map_err(unavailable)?;
        let path = PathAndQuery::from_static(
            "/gotoassist.remotesupport.v1.RemoteSupportService/GetSession",
        );
        let codec = ProstCodec::<GetSessionRequest, Answer>::default();
        let answer = self.client.unary(request, path, codec).await?.into_inner();
        let is_whole = answer.session.windows(SESSION_ID.len()).any(|bytes| bytes == SESSION_ID);
        is_whole.then_some(()).ok_or_else(|| Status::data_loss("not the session of the vendor"))
    }
}

/// A request with a credential.
fn authorized<T>(message: T) -> Request<T> {
    const TOKEN: &str = "Bearer 4vhz2iqpPN3VzKcZ7s8mXWkJqYtR";
    let token: MetadataValue<Ascii> = MetadataValue::from_static(TOKEN);
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", token);
    request
}

/// Calls one after another on each of `concurrency` tasks, until `calls` are done. Fails if a call
/// fails.
pub async fn closed_loop(
    address: SocketAddr,
    session: Session,
    (connections, concurrency, calls): (usize, usize, usize),
) -> Result<Duration> {
    let (number, left) = (Arc::<AtomicUsize>::default(), Arc::new(AtomicUsize::new(calls)));
    let mut channels = Vec::new();
    for _ in 0..connections {
        channels.push(connect(address).await?);
    }
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..concurrency {
        let channel = channels[task % connections].clone();
        let (mut caller, left) =
            (Caller::new(channel, session, Arc::clone(&number)), Arc::clone(&left));
        tasks.spawn(async move {
            let is_left = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_ok() {
                caller.call().await?;
            }
            Ok::<_, Status>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(begin.elapsed())
}

/// Runs `ask` at a fixed rate, even if answers are slow. Records the microseconds of each call from
/// its due time.
pub async fn fixed_rate<F>(
    (per_second, count): (u32, usize),
    mut ask: impl FnMut() -> F,
) -> Result<Histogram<u64>>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut latencies = Histogram::new(3)?;
    let mut tasks = JoinSet::new();
    let mut due = interval(Duration::from_secs(1) / per_second);
    for _ in 0..count {
        due.tick().await;
        let (begin, answer) = (Instant::now(), ask());
        tasks.spawn(async move {
            answer.await?;
            anyhow::Ok(begin.elapsed())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        latencies.record(u64::try_from(ended??.as_micros())?)?;
    }
    Ok(latencies)
}

/// Open watches of the session `shared`.
pub struct Watching {
    received: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
    count: u64,
}

impl Watching {
    /// Opens `count` watches on `connections`, and waits for the first message of each.
    pub async fn open(address: SocketAddr, connections: usize, count: usize) -> Result<Self> {
        let (received, bytes) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut opening = JoinSet::new();
        for connection in 0..connections {
            let channel = connect(address).await?;
            let share = count / connections + usize::from(connection < count % connections);
            let (received, bytes) = (Arc::clone(&received), Arc::clone(&bytes));
            opening.spawn(async move {
                let mut client = RemoteSupportServiceClient::new(channel);
                let mut tasks = Vec::with_capacity(share);
                for _ in 0..share {
                    let request = WatchSessionRequest {
                        session_id: "shared".to_owned(),
                        // The longest interval, so that no heartbeat comes during the measurement.
                        heartbeat_interval: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
                        ..WatchSessionRequest::default()
                    };
                    let mut messages =
                        client.watch_session(authorized(request)).await?.into_inner();
                    let (received, bytes) = (Arc::clone(&received), Arc::clone(&bytes));
                    tasks.push(tokio::spawn(async move {
                        while let Ok(Some(message)) = messages.message().await {
                            let size = prost::Message::encoded_len(&message);
                            bytes.store(u64::try_from(size).unwrap_or(0), Ordering::Relaxed);
                            received.fetch_add(1, Ordering::Relaxed);
                        }
                    }));
                }
                Ok::<_, Status>(tasks)
            });
        }
        let mut tasks = Vec::new();
        while let Some(opened) = opening.join_next().await {
            tasks.extend(opened??);
        }
        let watching = Self { received, bytes, tasks, count: u64::try_from(count)? };
        watching.wait(watching.count).await?;
        Ok(watching)
    }

    /// The number of messages so far, including the first ones.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The number of watches.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Size of the latest message in bytes.
    pub fn message_size(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until each watch has received one more message.
    pub async fn one_more(&self, before: u64) -> Result<()> {
        self.wait(before + self.count).await
    }

    async fn wait(&self, messages: u64) -> Result<()> {
        let all = async {
            while self.received() < messages {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let is_in_time = timeout(Duration::from_secs(60), all).await.is_ok();
        ensure!(is_in_time, "{} of {messages} messages came within a minute", self.received());
        Ok(())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
