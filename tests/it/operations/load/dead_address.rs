//! A vendor name with two addresses, of which the first drops all packets.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use gotoassist_grpc::simulator::Fault;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use super::{
    super::{Serve, can_bind_over},
    Load, P95,
};
use crate::kit::{folder::Folder, vendor::Vendor};

const DEAD: Ipv4Addr = Ipv4Addr::LOCALHOST;
const LIVE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Each address gets half of this time. So a call that tries the dead address exceeds the limit of
/// a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2 * P95.as_secs());

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_address_costs_the_first_connections_their_share_and_no_later_one() {
    let folder = Folder::new();
    let hosts = folder.write("hosts", format!("{DEAD} vendor.test\n{LIVE} vendor.test\n"));
    let hosts = (hosts.as_str(), "/etc/hosts");
    let Some(dead) = DeadServer::start().await else {
        return eprintln!("skipped: no address of this machine drops packets");
    };
    if !can_bind_over(hosts).await {
        return eprintln!("skipped: this machine does not give a test its own file of hosts");
    }
    let vendor = Vendor::start_at((LIVE, dead.address.port()).into()).await;
    // With HTTP/1.0, each answer ends its connection.
    vendor.add_fault(Fault::Http10);
    let url = format!("http://vendor.test:{}/G2A/rest/v1", dead.address.port());
    let connect_timeout = format!("--upstream-connect-timeout={}s", CONNECT_TIMEOUT.as_secs());
    let flags = Load::flags(&url, &[&connect_timeout, "--upstream-timeout=1m"]);
    let serve = Serve::start_with(hosts, &flags).await;

    let start = Instant::now();
    let mut load = Load::start(&vendor, &serve).await;
    assert!(start.elapsed() >= CONNECT_TIMEOUT / 2, "the dead address comes first");
    load.is_undisturbed_by(async {}).await;
    load.end(&vendor).await;
}

/// A listener that accepts no connection. Its queue is full, so Linux drops the packets of new
/// clients.
struct DeadServer {
    address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl DeadServer {
    /// `None` on systems where a listener with a full queue still accepts connections.
    async fn start() -> Option<Self> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((DEAD, 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        loop {
            match timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
                Err(_) => return Some(Self { address, _listener: listener, _queue: queue }),
                Ok(_) if queue.len() > 100 => return None,
                Ok(connected) => queue.push(connected.unwrap()),
            }
        }
    }
}
