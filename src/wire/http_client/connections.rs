//! Replaces the connections by new ones from time to time.
//!
//! reqwest never ends a connection that is in use. But the name may have got another address, or the
//! server may accept no more requests on a connection that looks alive. So all connections are
//! replaced after some minutes, and after several requests in a row without an answer. Requests in
//! flight end on the old connections.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use reqwest::Client;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::client_settings::{ClientSettings, SetUpError};

/// How long connections are used.
const MAX_AGE: Duration = Duration::from_mins(5);

/// After this many requests in a row without an answer, the connections count as broken.
const MAX_UNANSWERED: u32 = 3;

/// A request that ended sooner does not count as unanswered, since its caller may have left.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// The clients of reqwest that are in use.
pub(super) struct Connections {
    settings: ClientSettings,
    min_wait: Duration,
    current: Mutex<Arc<Generation>>,
}

/// The clients that are replaced together.
pub(super) struct Generation {
    /// Keeps its connections.
    pub pooled: Client,
    /// Makes a new connection for each request.
    pub unpooled: Client,
    made_at: Instant,
    /// Requests without an answer since the latest answer.
    unanswered: AtomicU32,
    /// The local addresses of the connections that have carried an answer.
    reused: Mutex<HashSet<SocketAddr>>,
}

/// A request in flight. If it is dropped before its answer, it counts as unanswered.
pub(super) struct InFlight {
    pub generation: Arc<Generation>,
    since: Instant,
    min_wait: Duration,
    is_answered: bool,
}

impl Connections {
    /// Opens no connection yet. `timeout` is how long a request may take.
    pub fn new(settings: ClientSettings, timeout: Duration) -> Result<Self, SetUpError> {
        let current = Mutex::new(Arc::new(Generation::new(&settings)?));
        Ok(Self { settings, min_wait: MIN_WAIT.min(timeout / 2), current })
    }

    /// The connections for one request.
    pub fn begin(&self) -> InFlight {
        let mut current = self.current.lock();
        if let Some(reason) = current.end() {
            debug!(reason, "new connections to GoToAssist");
            *current = Arc::new(Generation::new(&self.settings).unwrap_or_else(|error| {
                warn!(%error, "connections to GoToAssist cannot be replaced, so the old ones stay");
                Generation::with(current.pooled.clone(), current.unpooled.clone())
            }));
        }
        let (generation, since) = (Arc::clone(&current), Instant::now());
        InFlight { generation, since, min_wait: self.min_wait, is_answered: false }
    }
}

impl Generation {
    fn new(settings: &ClientSettings) -> Result<Self, SetUpError> {
        Ok(Self::with(settings.pooled()?, settings.unpooled()?))
    }

    fn with(pooled: Client, unpooled: Client) -> Self {
        let (unanswered, reused) = (AtomicU32::new(0), Mutex::default());
        Self { pooled, unpooled, made_at: Instant::now(), unanswered, reused }
    }

    /// Why it must be replaced, if it must.
    fn end(&self) -> Option<&'static str> {
        if self.made_at.elapsed() >= MAX_AGE {
            return Some("age");
        }
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        (unanswered >= MAX_UNANSWERED).then_some("unanswered requests")
    }

    /// Whether the connection with this local address has carried an answer before.
    pub fn is_reused(&self, connection: SocketAddr) -> bool {
        self.reused.lock().contains(&connection)
    }
}

impl InFlight {
    /// Notes that the head of the answer came, on a kept connection with this local address.
    pub fn answered(mut self, connection: Option<SocketAddr>) {
        self.is_answered = true;
        self.generation.unanswered.store(0, Ordering::Relaxed);
        self.generation.reused.lock().extend(connection);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_answered && self.since.elapsed() >= self.min_wait {
            self.generation.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::atomic::AtomicBool,
    };

    use reqwest::Certificate;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::Notify,
        task::JoinSet,
    };

    use super::*;
    use crate::{
        config::UpstreamConfig,
        wire::http_client::{
            HttpClient,
            resolver::{Resolver, system_lookup},
        },
    };

    const OLD: Ipv4Addr = Ipv4Addr::LOCALHOST;
    const NEW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    /// Answers each request for `/` at once, and one for `/late` when told to.
    async fn serve(listener: TcpListener, status: u16, late: Arc<Notify>) {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let late = late.clone();
            connections.spawn(async move {
                let mut request = [0; 1024];
                while let Ok(1..) = stream.read(&mut request).await {
                    if request.starts_with(b"GET /late ") {
                        late.notified().await;
                    }
                    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_address_of_the_name_is_used_and_requests_in_flight_end_at_the_old_one() {
        static HAS_MOVED: AtomicBool = AtomicBool::new(false);

        let late = Arc::new(Notify::new());
        let old = TcpListener::bind((OLD, 0)).await.unwrap();
        let port = old.local_addr().unwrap().port();
        let new = TcpListener::bind((NEW, port)).await.unwrap();
        let mut servers = JoinSet::new();
        servers.spawn(serve(old, 201, late.clone()));
        servers.spawn(serve(new, 202, late.clone()));

        let url = format!("http://vendor.test:{port}/");
        let mut config = UpstreamConfig::at(url.parse().unwrap());
        config.timeout = MAX_AGE * 2;
        let client = HttpClient::with_lookup(&config, &config.url, |_| {
            let address = if HAS_MOVED.load(Ordering::Relaxed) { NEW } else { OLD };
            Box::pin(async move { Ok(vec![IpAddr::from(address)]) })
        });
        let client = client.unwrap();
        let ask = async |path: &str| {
            let request = http::Request::get(format!("{url}{path}")).body(Vec::new()).unwrap();
            client.send(request).await.unwrap().status().as_u16()
        };
        let began_at = Instant::now();
        let others = async {
            // On a connection of its own, since the late one has the first.
            assert_eq!(ask("").await, 201);
            HAS_MOVED.store(true, Ordering::Relaxed);
            let mut taken_over_at = None;
            while began_at.elapsed() < MAX_AGE + Duration::from_secs(30) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                match ask("").await {
                    201 => assert_eq!(taken_over_at, None, "never back"),
                    _ => _ = taken_over_at.get_or_insert(began_at.elapsed()),
                }
            }
            late.notify_one();
            taken_over_at
        };
        let (status, taken_over_at) = tokio::join!(ask("late"), others);
        assert_eq!(status, 201);
        let taken_over_at = taken_over_at.expect("the new address");
        let expected = MAX_AGE..=MAX_AGE + Duration::from_secs(2);
        assert!(expected.contains(&taken_over_at), "{taken_over_at:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn if_no_new_connections_can_be_made_the_old_ones_stay() {
        let server = TcpListener::bind((OLD, 0)).await.unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        let mut servers = JoinSet::new();
        servers.spawn(serve(server, 201, Arc::default()));

        let config = UpstreamConfig::at(url.parse().unwrap());
        let resolver = Arc::new(Resolver::new(system_lookup, config.connect_timeout));
        let settings = ClientSettings::new(&config, &config.url, resolver.clone()).unwrap();
        let mut connections = Connections::new(settings, config.timeout).unwrap();
        connections.settings.authorities = vec![Certificate::from_der(b"none").unwrap()];
        assert!(connections.settings.pooled().is_err());
        let client = HttpClient { connections: Arc::new(connections), resolver };
        for _ in 0..2 {
            let request = http::Request::get(&url).body(Vec::new()).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.status(), 201);
            tokio::time::advance(MAX_AGE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn three_long_requests_in_a_row_without_an_answer_end_a_generation() {
        let config = UpstreamConfig::at("http://vendor.test".parse().unwrap());
        let client = HttpClient::new(&config, &config.url).unwrap();
        let connections = &client.connections;
        let give_up_after = async |time| {
            let request = connections.begin();
            tokio::time::advance(time).await;
            Arc::as_ptr(&request.generation)
        };
        let (long, short) = (MIN_WAIT, MIN_WAIT / 2);
        let first = give_up_after(long).await;
        give_up_after(long).await;
        connections.begin().answered(None);
        for time in [long, short, short, long, short] {
            assert_eq!(give_up_after(time).await, first);
        }
        assert_eq!(give_up_after(long).await, first, "this is the third");
        assert_ne!(give_up_after(long).await, first);
    }
}
