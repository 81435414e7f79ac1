//! The knobs of `demo`.

use std::net::SocketAddr;

use clap::Args;

/// `demo`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit status: 0 if the session was seen from notStarted to complete and the watch ended with OK, otherwise 1"
)]
pub struct DemoConfig {
    /// Show the walk and exit, instead of serving until Ctrl-C
    #[arg(long, env = "GOTOASSIST_ONCE")]
    pub once: bool,

    /// Where the service listens; port 0 means a free one
    #[arg(long, env = "GOTOASSIST_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Where the service's metrics and status page listen; port 0 means a free one
    #[arg(
        long,
        env = "GOTOASSIST_ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    pub admin_listen: SocketAddr,

    /// Where the simulated vendor listens; port 0 means a free one
    #[arg(
        long,
        env = "GOTOASSIST_SIMULATOR_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    pub simulator_listen: SocketAddr,
}
