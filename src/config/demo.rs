//! The settings of `demo`.

use std::{net::SocketAddr, path::Path};

use clap::Args;
use url::Url;

use super::{ServeConfig, SimulateConfig, from_flags};

/// Settings of `demo`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit status: 0 if the session was seen from notStarted to complete and the watch ended with OK, otherwise 1"
)]
pub struct DemoConfig {
    /// Exit after the demonstration, instead of serving until Ctrl-C
    #[arg(long)]
    pub once: bool,

    /// Address of the service. Port 0 takes a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Address of the service's metrics and status page. Port 0 takes a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub admin_listen: SocketAddr,

    /// Address of the simulated vendor. Port 0 takes a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub simulator_listen: SocketAddr,

    /// Show three replicas that act as one, through the Redis at this address, and exit
    #[arg(long, value_name = "REDIS_URL")]
    pub fleet: Option<Url>,
}

impl DemoConfig {
    /// The configuration of a service in front of the simulated vendor at `upstream_url`. The
    /// service accepts callbacks with the secret in a file. Polls of waiting and active sessions
    /// are as rare as under a real quota, so that the effect of the callbacks is visible. Other
    /// polls are frequent. The environment has no effect, because it is meant for `serve`.
    pub fn serve(
        &self,
        upstream_url: &str,
        callback_secrets: &Path,
    ) -> Result<ServeConfig, clap::Error> {
        from_flags([
            &*format!("--listen={}", self.listen),
            &format!("--admin-listen={}", self.admin_listen),
            &format!("--upstream-url={upstream_url}"),
            "--callback-listen=127.0.0.1:0",
            &format!("--callback-secret-file={}", callback_secrets.display()),
            "--poll-not-started=300ms",
            "--poll-waiting=10s",
            "--poll-active=10s",
            "--poll-ended=300ms",
            "--finished-cache=0s",
            "--drain-delay=0s",
            "--drain-grace=2s",
        ])
    }

    /// The configuration of one of the replicas that share their polls through `fleet`.
    pub fn replica(
        upstream_url: &str,
        fleet: &Url,
        key_file: &Path,
    ) -> Result<ServeConfig, clap::Error> {
        from_flags([
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            &format!("--upstream-url={upstream_url}"),
            &format!("--fleet-url={fleet}"),
            &format!("--fleet-key-file={}", key_file.display()),
            "--poll-not-started=1s",
            "--poll-waiting=1s",
            "--poll-active=1s",
            "--sweep=off",
            "--drain-delay=0s",
            "--drain-grace=2s",
        ])
    }

    /// The configuration of the simulated vendor.
    pub fn simulate(&self) -> SimulateConfig {
        SimulateConfig { listen: self.simulator_listen, ..SimulateConfig::default() }
    }
}
