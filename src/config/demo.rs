//! The settings of `demo`.

use std::net::SocketAddr;

use clap::Args;

use super::{ServeConfig, SimulateConfig, from_flags};

/// `demo`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit status: 0 if the session was seen from notStarted to complete and the watch ended with OK, otherwise 1"
)]
pub struct DemoConfig {
    /// Show the walk and exit, instead of serving until Ctrl-C
    #[arg(long)]
    pub once: bool,

    /// Where the service listens; port 0 means a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Where the service's metrics and status page listen; port 0 means a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub admin_listen: SocketAddr,

    /// Where the simulated vendor listens; port 0 means a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub simulator_listen: SocketAddr,
}

impl DemoConfig {
    /// A service in front of the simulated vendor at `upstream_url`: quick, since nobody's quota is
    /// at stake, and untouched by an environment that is meant for `serve`.
    pub fn serve(&self, upstream_url: &str) -> Result<ServeConfig, clap::Error> {
        from_flags([
            &*format!("--listen={}", self.listen),
            &format!("--admin-listen={}", self.admin_listen),
            &format!("--upstream-url={upstream_url}"),
            "--poll-not-started=300ms",
            "--poll-waiting=300ms",
            "--poll-active=300ms",
            "--poll-ended=300ms",
            "--finished-cache=0s",
            "--drain-delay=0s",
            "--drain-grace=2s",
        ])
    }

    /// The simulated vendor.
    pub fn simulate(&self) -> SimulateConfig {
        SimulateConfig { listen: self.simulator_listen, ..SimulateConfig::default() }
    }
}
