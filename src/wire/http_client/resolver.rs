//! Resolves the server's name, and puts the address that worked last in front.
//!
//! reqwest tries one address after the other, each with an equal part of the connect timeout, and
//! tries the other family of IP addresses too after 300 ms (RFC 8305). But it does not remember which
//! address is dead, so each new connection would wait for it again.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::{Instant, timeout};

/// How long an address is tried first after its latest answer.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Finds the addresses of a name.
pub(super) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;

/// Asks the system's resolver.
pub(super) fn system_lookup(name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
    Box::pin(async move {
        let addresses = tokio::net::lookup_host((name, 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    })
}

/// The name has no address, or the name servers do not answer.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
pub(super) struct Unresolved(#[source] io::Error);

/// Resolves the names that one client connects to.
pub(super) struct Resolver {
    lookup: Lookup,
    timeout: Duration,
    worked: Arc<Mutex<Option<(IpAddr, Instant)>>>,
}

impl Resolver {
    /// A lookup may take most of the connect timeout but not all of it. Otherwise silent name servers
    /// would look like a silent server.
    pub fn new(lookup: Lookup, connect_timeout: Duration) -> Self {
        Self { lookup, timeout: connect_timeout.mul_f64(0.9), worked: Arc::default() }
    }

    /// Notes that an answer came from this address.
    pub fn note_success(&self, address: IpAddr) {
        *self.worked.lock() = Some((address, Instant::now()));
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = timeout(self.timeout, (self.lookup)(name.as_str().to_owned()));
        let worked = Arc::clone(&self.worked);
        Box::pin(async move {
            let late = |_| Unresolved(io::ErrorKind::TimedOut.into());
            let mut addresses = addresses.await.map_err(late)?.map_err(Unresolved)?;
            let latest = worked.lock().filter(|(_, at)| at.elapsed() < REMEMBERED);
            if let Some((first, _)) = latest {
                addresses.sort_by_key(|address| *address != first);
            }
            // reqwest replaces port 0 with the port of the URL.
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpSocket, TcpStream},
        task::JoinSet,
    };

    use super::*;
    use crate::{
        config::UpstreamConfig,
        wire::{ConnectionFailure, Error, HttpClient, Kind},
    };

    const LIVE: Ipv4Addr = Ipv4Addr::LOCALHOST;
    const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    /// An address that answers, and one with the same port that drops all packets.
    struct Servers {
        port: u16,
        _dead: (TcpListener, Vec<TcpStream>),
        _live: JoinSet<()>,
    }

    impl Servers {
        /// `None` on systems where a listener with a full queue still accepts connections.
        async fn start() -> Option<Self> {
            let live = TcpListener::bind((LIVE, 0)).await.unwrap();
            let port = live.local_addr().unwrap().port();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((DEAD, port).into()).unwrap();
            let dead = socket.listen(1).unwrap();
            let mut queue = Vec::new();
            // Nobody accepts, and Linux drops packets once the queue is full.
            loop {
                let connecting = TcpStream::connect((DEAD, port));
                match timeout(Duration::from_millis(300), connecting).await {
                    Err(_) => break,
                    Ok(_) if queue.len() > 100 => {
                        eprintln!("skipped: no address of this machine drops packets");
                        return None;
                    }
                    Ok(connected) => queue.push(connected.unwrap()),
                }
            }
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                while let Ok((mut stream, _)) = live.accept().await {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                }
            });
            Some(Self { port, _dead: (dead, queue), _live: tasks })
        }

        fn client(&self, lookup: Lookup) -> HttpClient {
            client(&format!("http://vendor.test:{}", self.port), lookup)
        }

        async fn ask(&self, client: &HttpClient) -> Result<u16, Error> {
            let uri = format!("http://vendor.test:{}/", self.port);
            let request = http::Request::get(uri).body(Vec::new()).unwrap();
            client.send(request).await.map(|response| response.status().as_u16())
        }
    }

    fn client(url: &str, lookup: Lookup) -> HttpClient {
        let mut config = UpstreamConfig::at(url.parse().unwrap());
        config.connect_timeout = Duration::from_secs(2);
        HttpClient::with_lookup(&config, &config.url, lookup).unwrap()
    }

    fn found(addresses: &'static [Ipv4Addr]) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(addresses.iter().copied().map(IpAddr::V4).collect()) })
    }

    fn failure(error: &Error) -> (Kind, Option<ConnectionFailure>) {
        (error.kind, error.connection)
    }

    async fn order(resolver: &Resolver) -> Vec<IpAddr> {
        let resolving = resolver.resolve("vendor.test".parse().unwrap());
        resolving.await.unwrap().map(|address| address.ip()).collect()
    }

    #[tokio::test]
    async fn a_dead_address_delays_only_the_first_connection() {
        let Some(servers) = Servers::start().await else { return };
        let client = servers.client(|_| found(&[DEAD, LIVE]));
        assert_eq!(order(&client.resolver).await, [DEAD, LIVE]);
        let began_at = Instant::now();
        assert_eq!(servers.ask(&client).await.unwrap(), 204);
        assert!(began_at.elapsed() >= Duration::from_secs(1), "half of the connect timeout");
        assert_eq!(order(&client.resolver).await, [LIVE, DEAD]);
        let began_at = Instant::now();
        assert_eq!(servers.ask(&client).await.unwrap(), 204);
        assert!(began_at.elapsed() < Duration::from_secs(1), "on a connection of its own");
    }

    #[tokio::test]
    async fn dead_addresses_alone_are_timed_out() {
        let Some(servers) = Servers::start().await else { return };
        let client = servers.client(|_| found(&[DEAD, DEAD]));
        let error = servers.ask(&client).await.unwrap_err();
        assert_eq!(failure(&error), (Kind::ConnectFailed, Some(ConnectionFailure::TimedOut)));
    }

    #[tokio::test]
    async fn silent_name_servers_are_distinguished_from_a_silent_server() {
        tokio::time::pause();
        let client = client("http://vendor.test", |_| Box::pin(std::future::pending()));
        let request = http::Request::get("http://vendor.test").body(Vec::new()).unwrap();
        let error = client.send(request).await.err().unwrap();
        assert_eq!(failure(&error), (Kind::ConnectFailed, Some(ConnectionFailure::Dns)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_worked_is_forgotten_after_a_while() {
        let resolver = Resolver::new(|_| found(&[DEAD, LIVE]), Duration::from_secs(3));
        resolver.note_success(LIVE.into());
        assert_eq!(order(&resolver).await[0], LIVE);
        tokio::time::advance(REMEMBERED.mul_f64(0.9)).await;
        assert_eq!(order(&resolver).await[0], LIVE);
        tokio::time::advance(REMEMBERED.mul_f64(0.2)).await;
        assert_eq!(order(&resolver).await[0], DEAD);
    }
}
