//! The addresses of the server's name, with the one that worked before in front.
//!
//! reqwest tries one address after the other and gives each an equal part of the connect timeout;
//! the other family of IP addresses joins in after 300 ms (RFC 8305). What it does not do is remember
//! which address is dead, so that every new connection would wait for that one again.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::{Instant, timeout};

use crate::rest::lock;

/// How long after its latest answer an address is tried first.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Finds the addresses of a name.
pub(super) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;

/// Asks the system.
pub(super) fn system_lookup(name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
    Box::pin(async move {
        let addresses = tokio::net::lookup_host((name, 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    })
}

/// A name that has no address, or none that could be asked for.
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
    /// A lookup may take most of the connect timeout, and not all of it: otherwise name servers that
    /// do not answer would look like a server that does not.
    pub fn new(lookup: Lookup, connect_timeout: Duration) -> Self {
        Self { lookup, patience: connect_timeout.mul_f64(0.9), worked: Arc::default() }
    }

    /// There was an answer from this address.
    pub fn worked(&self, address: IpAddr) {
        *lock(&self.worked) = Some((address, Instant::now()));
    }
}

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = timeout(self.patience, (self.lookup)(name.as_str().to_owned()));
        let worked = Arc::clone(&self.worked);
        Box::pin(async move {
            let late = |_| Unresolved(io::ErrorKind::TimedOut.into());
            let mut addresses = addresses.await.map_err(late)?.map_err(Unresolved)?;
            let latest = lock(&worked).filter(|(_, at)| at.elapsed() < REMEMBERED);
            if let Some((first, _)) = latest {
                addresses.sort_by_key(|address| *address != first);
            }
            // The client puts its own port for the 0.
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}
