//! The real binary in front of a simulated vendor, for what only sockets and processes show.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use gotoassist_grpc::{
    config::SimulateConfig,
    proto::{
        WatchSessionRequest, WatchSessionResponse,
        remote_support_service_client::RemoteSupportServiceClient,
    },
    simulator::{Control, Simulator},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::world::authorized;

/// Longer than anything takes that goes right.
const LIMIT: Duration = Duration::from_mins(1);

/// What `future` gives, or a failure of the test.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it should have happened by now")
}

/// A vendor without a rate limit, in this process, until it is dropped.
pub struct Vendor {
    pub control: Control,
    url: String,
    running: JoinHandle<()>,
}

impl Vendor {
    pub async fn start() -> Self {
        let simulator = Simulator::bind(&SimulateConfig::on_free_port()).await.unwrap();
        let (control, url) = (simulator.control(), simulator.rest_url());
        Self { control, url, running: tokio::spawn(simulator.run(std::future::pending())) }
    }

    /// How often a session was asked for.
    pub fn polls(&self, id: &str) -> u64 {
        self.control.counters().of_session(id)
    }

    /// A service in front of it, with these flags of `serve`.
    pub async fn serve(&self, flags: &[&str]) -> Served {
        Served::start("127.0.0.1:0", &self.url, flags).await
    }

    /// The same at an address that may have been another's.
    pub async fn serve_at(&self, address: SocketAddr, flags: &[&str]) -> Served {
        Served::start(&address.to_string(), &self.url, flags).await
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A service in a process of its own, which is killed when this is dropped.
pub struct Served {
    pub address: SocketAddr,
    admin: String,
    child: Child,
    log: JoinHandle<()>,
}

impl Served {
    async fn start(listen: &str, vendor: &str, flags: &[&str]) -> Self {
        let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let admin = admin.to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_gotoassist-grpc"))
            .args(["serve", "--listen", listen, "--admin-listen", &admin])
            .args(["--upstream-url", vendor, "--log-format", "json"])
            .args(flags)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = soon(async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the line with the address");
                let line: serde_json::Value = serde_json::from_str(&line).expect(&line);
                if line["message"] == "serving" {
                    break line["address"].as_str().unwrap().parse().unwrap();
                }
            }
        })
        .await;
        // Read to the end, or the service would wait for a place in the pipe.
        let log = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address, admin, child, log }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A connection of its own.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.url()).unwrap().tcp_nodelay(true);
        soon(endpoint.connect()).await.unwrap()
    }

    /// SIGTERM.
    pub async fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    }

    /// How it ended.
    pub async fn ended(&mut self) -> ExitStatus {
        soon(self.child.wait()).await.unwrap()
    }

    /// SIGKILL; returns when the process is no more.
    pub async fn kill(mut self) {
        soon(self.child.kill()).await.unwrap();
    }

    /// The sum of all series of a metric.
    pub async fn metric(&self, name: &str) -> f64 {
        let mut socket = TcpStream::connect(&self.admin).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.unwrap();
        let of_metric = answer.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next())??;
            Some(value.parse::<f64>().unwrap())
        });
        of_metric.sum()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.log.abort();
    }
}

/// Opens a watch by the token `t`.
pub async fn watch(
    channel: &Channel,
    request: WatchSessionRequest,
) -> Result<Streaming<WatchSessionResponse>, Status> {
    let mut client = RemoteSupportServiceClient::new(channel.clone());
    soon(client.watch_session(authorized("t", request))).await.map(tonic::Response::into_inner)
}
