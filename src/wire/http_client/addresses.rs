//! Resolves the server's name, and puts the address that worked last in front.
//!
//! reqwest tries one address after the other and gives each an equal part of the connect timeout;
//! the other family of IP addresses joins in after 300 ms (RFC 8305). But it does not remember which
//! address is dead, so every new connection would wait for that one again.

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

/// How long after its latest answer an address is tried first.
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
pub(super) struct Addresses {
    lookup: Lookup,
    patience: Duration,
    worked: Arc<Mutex<Option<(IpAddr, Instant)>>>,
}

impl Addresses {
    /// A lookup may take most of the connect timeout but not all of it. Otherwise name servers that do
    /// not answer could not be told from a server that does not.
    pub fn new(lookup: Lookup, connect_timeout: Duration) -> Self {
        Self { lookup, patience: connect_timeout.mul_f64(0.9), worked: Arc::default() }
    }

    /// There was an answer from this address.
    pub fn worked(&self, address: IpAddr) {
        *self.worked.lock() = Some((address, Instant::now()));
    }
}

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = timeout(self.patience, (self.lookup)(name.as_str().to_owned()));
        let worked = Arc::clone(&self.worked);
        Box::pin(async move {
            let late = |_| Unresolved(io::ErrorKind::TimedOut.into());
            let mut addresses = addresses.await.map_err(late)?.map_err(Unresolved)?;
            let latest = worked.lock().filter(|(_, at)| at.elapsed() < REMEMBERED);
            if let Some((first, _)) = latest {
                addresses.sort_by_key(|address| *address != first);
            }
            // The client puts its own port for the 0.
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
        wire::{
            error::ConnectionFailure,
            http_client::{Failed, HttpClient},
        },
    };

    const LIVE: Ipv4Addr = Ipv4Addr::LOCALHOST;
    const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    /// An address that answers, and one of the same port that drops what comes.
    struct Servers {
        port: u16,
        _dead: (TcpListener, Vec<TcpStream>),
        _live: JoinSet<()>,
    }

    impl Servers {
        /// `None` where a listener whose queue is full still takes connections.
        async fn start() -> Option<Self> {
            let live = TcpListener::bind((LIVE, 0)).await.unwrap();
            let port = live.local_addr().unwrap().port();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((DEAD, port).into()).unwrap();
            let dead = socket.listen(1).unwrap();
            let mut queue = Vec::new();
            // Nobody accepts: Linux drops the packets of those who find no place in the queue.
            loop {
                let connecting = TcpStream::connect((DEAD, port));
                match timeout(Duration::from_millis(300), connecting).await {
                    Err(_) => break,
                    Ok(_) if queue.len() > 100 => return None,
                    Ok(connected) => queue.push(connected.unwrap()),
                }
            }
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                while let Ok((mut stream, _)) = live.accept().await {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let answer = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            Some(Self { port, _dead: (dead, queue), _live: tasks })
        }

        fn client(&self, lookup: Lookup) -> HttpClient {
            let url = format!("http://vendor.test:{}", self.port).parse().unwrap();
            let mut config = UpstreamConfig::at(url);
            config.connect_timeout = Duration::from_secs(2);
            HttpClient::with_lookup(&config, &config.url, lookup).unwrap()
        }

        async fn ask(&self, client: &HttpClient) -> Result<u16, Failed> {
            let uri = format!("http://vendor.test:{}/", self.port);
            let request = http::Request::get(uri).body(Vec::new()).unwrap();
            client.send(request).await.map(|response| response.status().as_u16())
        }
    }

    fn found(addresses: &'static [Ipv4Addr]) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(addresses.iter().copied().map(IpAddr::V4).collect()) })
    }

    async fn order(client: &HttpClient) -> Vec<IpAddr> {
        let resolving = client.addresses.resolve("vendor.test".parse().unwrap());
        resolving.await.unwrap().map(|address| address.ip()).collect()
    }

    #[tokio::test]
    async fn a_dead_address_costs_the_first_connection_its_share_and_no_later_one() {
        let Some(servers) = Servers::start().await else {
            eprintln!("skipped: no address of this machine drops packets");
            return;
        };
        let client = servers.client(|_| found(&[DEAD, LIVE]));
        assert_eq!(order(&client).await, [DEAD, LIVE]);
        let began_at = Instant::now();
        assert_eq!(servers.ask(&client).await.unwrap(), 204);
        assert!(began_at.elapsed() >= Duration::from_secs(1), "half of the connect timeout");
        assert_eq!(order(&client).await, [LIVE, DEAD]);
        let began_at = Instant::now();
        assert_eq!(servers.ask(&client).await.unwrap(), 204);
        assert!(began_at.elapsed() < Duration::from_secs(1), "on a connection of its own");
    }

    #[tokio::test]
    async fn dead_addresses_alone_are_timed_out() {
        let Some(servers) = Servers::start().await else {
            eprintln!("skipped: no address of this machine drops packets");
            return;
        };
        let client = servers.client(|_| found(&[DEAD, DEAD]));
        let failed = servers.ask(&client).await.unwrap_err();
        assert!(matches!(failed, Failed::Connect(ConnectionFailure::TimedOut, _)), "{failed}");
    }

    #[tokio::test]
    async fn name_servers_that_do_not_answer_are_told_from_a_server_that_does_not() {
        let config = UpstreamConfig::at("http://vendor.test".parse().unwrap());
        tokio::time::pause();
        let client =
            HttpClient::with_lookup(&config, &config.url, |_| Box::pin(std::future::pending()));
        let request = http::Request::get("http://vendor.test").body(Vec::new()).unwrap();
        let failed = client.unwrap().send(request).await.err().unwrap();
        assert!(matches!(failed, Failed::Connect(ConnectionFailure::Dns, _)), "{failed}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_worked_is_forgotten_after_a_while() {
        let addresses = Addresses::new(|_| found(&[DEAD, LIVE]), Duration::from_secs(3));
        addresses.worked(LIVE.into());
        let first = async || {
            let resolving = addresses.resolve("vendor.test".parse().unwrap());
            resolving.await.unwrap().next().unwrap().ip()
        };
        assert_eq!(first().await, LIVE);
        tokio::time::advance(REMEMBERED.mul_f64(0.9)).await;
        assert_eq!(first().await, LIVE);
        tokio::time::advance(REMEMBERED.mul_f64(0.2)).await;
        assert_eq!(first().await, DEAD);
    }
}
