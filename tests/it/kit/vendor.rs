//! The simulated vendor in this process.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
};

use gotoassist_grpc::{
    config::SimulateConfig,
    simulator::{Control, Simulator},
};
use tokio::task::JoinHandle;

/// A simulated vendor without a rate limit, which runs until it is dropped. It is changed through its
/// [`Control`], to which it dereferences.
pub struct Vendor {
    control: Control,
    pub address: SocketAddr,
    pub rest_url: String,
    running: JoinHandle<()>,
}

impl Vendor {
    pub async fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    pub async fn start_at(listen: SocketAddr) -> Self {
        let config = SimulateConfig { listen, ..SimulateConfig::on_free_port() };
        let simulator = Simulator::bind(&config).await.unwrap();
        Self {
            control: simulator.control(),
            address: simulator.local_addr(),
            rest_url: simulator.rest_url(),
            running: tokio::spawn(simulator.run(std::future::pending())),
        }
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
