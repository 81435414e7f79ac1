//! What `WatchSessions` costs beside `WatchSession`. docs/performance.md has the results.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use gotoassist_grpc::{
    admin::failures::Failures,
    clock::Clock,
    feed::{Ask, BoxedReply, Key, PollIntervals},
    grpc::caller::Callers,
    model::Session,
    proto::{
        WatchSessionRequest, remote_support_service_client::RemoteSupportServiceClient,
        serving::remote_support_service_server::RemoteSupportServiceServer,
    },
    server::{
        accept::Acceptor,
        call::{CallSettings, Calls},
        gate::Gate,
        http2,
        listen::Listener,
    },
    trace::Tracer,
    wire::{Answer, session},
};
use tokio::{runtime::Runtime, sync::oneshot, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::desk::Desk;
use crate::{
    kit::{
        request::{self, authorized},
        server::Server,
    },
    watch::world::unconnected_client,
};

/// A session with every documented field.
const BODY: &[u8] = include_bytes!("../../../benches/compare/peers/session.json");

/// Every session is polled once in this time, and may change each time.
const POLL: Duration = Duration::from_millis(1100);

/// How long each phase is measured.
const PHASE: Duration = Duration::from_secs(12);

/// How the sessions are watched.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// A stream for each session.
    One,
    /// All sessions of a connection on one stream.
    Many,
}

#[test]
#[ignore = "measures for minutes, alone and in release"]
fn what_an_event_and_a_session_cost() {
    println!("| sessions | connections | streams | CPU an event | events |\n|--:|--:|--:|--:|--:|");
    let mut cost = Vec::new();
    for (sessions, connections, form) in [
        (10_000, 10, Form::One),
        (10_000, 10, Form::Many),
        (2_000, 1, Form::One),
        (2_000, 1, Form::Many),
    ] {
        let (microseconds, events) = cost_of_an_event(sessions, connections, form);
        let streams = if form == Form::One { sessions } else { connections };
        println!("| {sessions} | {connections} | {streams} | {microseconds:.1} µs | {events} |");
        cost.push(microseconds);
    }
    println!("ratios: {:.2} and {:.2}", cost[1] / cost[0], cost[3] / cost[2]);
    let bytes = bytes_of_a_session(100_000, 10);
    println!("{bytes} B of resident memory for each of 100,000 sessions on 10 streams");
}

/// The processor time of the service for an event, in microseconds, beyond that of the polls; and
/// the number of events.
fn cost_of_an_event(sessions: usize, connections: usize, form: Form) -> (f64, u64) {
    let service = Service::start();
    let received = Arc::new(AtomicU64::new(0));
    let client = runtime("client");
    client.block_on(async {
        for connection in 0..connections {
            let each = sessions / connections;
            let ids = (connection * each..(connection + 1) * each).map(id).collect();
            follow(&service.channel().await, ids, form, &received).await;
        }
        let snapshots = sessions.try_into().unwrap();
        while received.load(Ordering::Relaxed) < snapshots {
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_secs(3)).await;
        let quiet = service.measure().await;
        let before = received.load(Ordering::Relaxed);
        let versions = service.version.clone();
        let change = tokio::spawn(async move {
            loop {
                versions.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(1)).await;
            }
        });
        sleep(Duration::from_secs(2)).await;
        let before_busy = received.load(Ordering::Relaxed);
        let busy = service.measure().await;
        let events = received.load(Ordering::Relaxed) - before_busy;
        change.abort();
        assert!(before >= snapshots && events > snapshots);
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let microseconds = busy.saturating_sub(quiet).as_secs_f64() * 1e6 / events as f64;
        (microseconds, events)
    })
}

/// The resident memory that a session takes on a second set of streams, when its poll runs already.
fn bytes_of_a_session(sessions: usize, streams: usize) -> u64 {
    let service = Service::start();
    let received = Arc::new(AtomicU64::new(0));
    let client = runtime("client");
    client.block_on(async {
        let mut resident = Vec::new();
        for round in 1..=2 {
            for stream in 0..streams {
                let each = sessions / streams;
                let ids = (stream * each..(stream + 1) * each).map(id).collect();
                follow(&service.channel().await, ids, Form::Many, &received).await;
            }
            let snapshots = u64::try_from(round * sessions).unwrap();
            while received.load(Ordering::Relaxed) < snapshots {
                sleep(Duration::from_millis(50)).await;
            }
            sleep(Duration::from_secs(5)).await;
            resident.push(resident_bytes());
        }
        // The client of this process keeps nothing for a session.
        (resident[1] - resident[0]) / u64::try_from(sessions).unwrap()
    })
}

/// Watches the sessions on one connection, and counts the messages.
async fn follow(channel: &Channel, ids: Vec<String>, form: Form, received: &Arc<AtomicU64>) {
    let heartbeat_interval = Some(prost_types::Duration { seconds: 300, nanos: 0 });
    let watch = |id: &String| WatchSessionRequest { heartbeat_interval, ..request::watch(id) };
    let received = received.clone();
    match form {
        Form::One => {
            for id in ids {
                let mut client = RemoteSupportServiceClient::new(channel.clone());
                let (received, watch) = (received.clone(), watch(&id));
                tokio::spawn(async move {
                    let answer = client.watch_session(authorized("t", watch)).await;
                    let mut messages = answer.unwrap().into_inner();
                    while let Ok(Some(_)) = messages.message().await {
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        Form::Many => {
            let mut desk = Desk::connect(channel).await.unwrap();
            desk.add_all(ids.iter().map(watch).collect()).await;
            tokio::spawn(async move {
                while desk.any().await.is_ok() {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
}

/// The service on threads of its own, so that its processor time can be told apart.
struct Service {
    address: String,
    version: Arc<AtomicU64>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Service {
    fn start() -> Self {
        let version = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let (sender, receiver) = oneshot::channel();
        let (versions, stopped) = (version.clone(), stop.clone());
        let serve = move || {
            runtime("server").block_on(async {
                let server = server(versions);
                let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
                let address = listener.local_address().clone();
                sender.send(format!("http://{address}")).unwrap();
                let serving = tokio::spawn(acceptor(&server, stopped.clone()).serve(listener));
                stopped.cancelled().await;
                serving.abort();
            });
        };
        let thread = thread::Builder::new().name("server".to_owned()).spawn(serve).unwrap();
        let address = receiver.blocking_recv().unwrap();
        Self { address, version, stop, thread: Some(thread) }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.address.clone()).unwrap();
        endpoint.tcp_nodelay(true).connect().await.unwrap()
    }

    /// The processor time of the service in a phase.
    async fn measure(&self) -> Duration {
        let before = processor_time();
        sleep(PHASE).await;
        processor_time().saturating_sub(before)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}

/// A service in front of a vendor that answers at once. Each version differs from the one before in
/// one of four fields.
fn server(version: Arc<AtomicU64>) -> Server {
    let clock = Clock::system();
    let template: Session = session::decode(BODY).unwrap();
    let read = move |key: Key, _: Ask| {
        let version = version.load(Ordering::Relaxed);
        let text = |place| Some(format!("version {}", (version + place) / 4));
        let mut session = template.clone();
        key.session.as_str().clone_into(&mut session.session_id);
        (session.notes, session.partner_object) = (text(0), text(1));
        (session.expert_name, session.customer_name) = (text(2), text(3));
        let answer = Answer { content: Arc::new(session), observed_at: clock.now() };
        Box::pin(std::future::ready(Ok(answer))) as BoxedReply
    };
    let client = unconnected_client(clock);
    Server::assemble(client, read, None, Callers::Own, clock, |feed, watches| {
        feed.intervals =
            PollIntervals { not_started: POLL, waiting: POLL, active: POLL, ended: POLL };
        watches.max_watches = 1_000_000;
        watches.max_per_caller = 1_000_000;
    })
}

fn acceptor(server: &Server, stop: CancellationToken) -> Acceptor {
    let settings = CallSettings {
        log_ok_calls: 0.0,
        default_deadline: Duration::from_secs(30),
        failures: Failures::default(),
        tracer: Tracer::default(),
        drain: stop.clone(),
    };
    let service = RemoteSupportServiceServer::new(server.service.clone());
    Acceptor {
        tls: None,
        handshake_timeout: Duration::from_secs(10),
        gate: Gate::new(1000),
        http2: http2::Settings {
            max_streams: 10_000,
            max_header_list: 65_536,
            max_age: None,
            age_grace: Duration::from_secs(10),
        },
        calls: Calls::new(service.max_decoding_message_size(4 << 20), settings),
        stop,
    }
}

fn id(number: usize) -> String {
    format!("2500{number:06}")
}

/// The processor time of all threads of the service.
fn processor_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let of_thread = |thread: fs::DirEntry| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let statistics = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = statistics.split(' ').next()?.parse().ok()?;
        (name.trim() == "server").then_some(Duration::from_nanos(nanoseconds))
    };
    threads.filter_map(|thread| of_thread(thread.unwrap())).sum()
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kilobytes * 1024
}
