//! The real service and the simulated vendor, both in this process and on separate ports.

use std::net::SocketAddr;

use gotoassist_grpc::{
    config::{ServeConfig, from_flags},
    proto::remote_support_service_client::RemoteSupportServiceClient,
    server::Server,
};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::{peer::Peer, vendor::Vendor};

/// A service and its vendor. Both run until this is dropped.
pub struct Harness {
    pub vendor: Vendor,
    /// The address of the service.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Harness {
    /// The service with its defaults.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The service with more flags of `serve`. `VENDOR` in a flag stands for the vendor's address.
    /// If a flag is repeated, the last one counts.
    pub async fn with(flags: &[&str]) -> Self {
        let vendor = Vendor::start().await;
        let upstream = format!("--upstream-url={}", vendor.rest_url);
        let place = |flag: &&str| flag.replace("VENDOR", &vendor.address.to_string());
        let flags: Vec<_> = flags.iter().map(place).collect();
        let flags = flags.iter().map(String::as_str);
        let own = ["--listen=127.0.0.1:0", &upstream];
        let config = serve_config(&own.into_iter().chain(flags).collect::<Vec<_>>());
        let server = Server::bind(config).await.expect("the service starts");
        let address = server.local_addr().expect("it listens on TCP");
        let serving = tokio::spawn(async {
            server.run(std::future::pending()).await.expect("the service runs");
        });
        Self { vendor, address, serving }
    }

    /// A connection for any generated client.
    pub fn channel(&self) -> Channel {
        let address = format!("http://{}", self.address);
        Endpoint::from_shared(address).expect("an address").connect_lazy()
    }

    /// The generated client.
    pub fn client(&self) -> RemoteSupportServiceClient<Channel> {
        RemoteSupportServiceClient::new(self.channel())
    }

    /// A raw peer on a connection of its own.
    pub async fn peer(&self) -> Peer {
        Peer::connect(self.address).await
    }

    /// The targets of the upstream requests, as they were sent.
    pub fn targets(&self) -> Vec<String> {
        self.vendor.counters().recent.into_iter().map(|seen| seen.target).collect()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The configuration of `serve` with these flags, without the environment of the test run.
pub fn serve_config(flags: &[&str]) -> ServeConfig {
    let own = ["--admin-listen=127.0.0.1:0"];
    from_flags([&own, flags].concat()).expect("flags of serve")
}
