//! The simulated vendor in this process.

use std::{net::SocketAddr, ops::Deref};

use gotoassist_grpc::{
    config::SimulateConfig,
    simulator::{Control, Simulator},
};
use tokio::task::JoinHandle;

/// A simulated vendor. It runs until it is dropped. It dereferences to its [`Control`], which changes
/// it.
pub struct Vendor {
    control: Control,
    pub address: SocketAddr,
    pub rest_url: String,
    pub token_url: String,
    pub authorize_url: String,
    running: JoinHandle<()>,
}

impl Vendor {
    /// A vendor without a rate limit.
    pub async fn start() -> Self {
        Self::with(&SimulateConfig::on_free_port()).await
    }

    pub async fn start_at(listen: SocketAddr) -> Self {
        Self::with(&SimulateConfig { listen, ..SimulateConfig::on_free_port() }).await
    }

    pub async fn with(config: &SimulateConfig) -> Self {
        let simulator = Simulator::bind(config).await.unwrap();
        Self {
            control: simulator.control(),
            address: simulator.local_addr(),
            rest_url: simulator.rest_url(),
            token_url: simulator.token_url(),
            authorize_url: simulator.authorize_url(),
            running: tokio::spawn(simulator.run(std::future::pending())),
        }
    }

    /// Stops the vendor and closes its port.
    pub async fn stop(&mut self) {
        self.running.abort();
        // The port is closed once the task has ended.
        let _ = (&mut self.running).await;
    }
}

impl Deref for Vendor {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.running.abort();
    }
}
