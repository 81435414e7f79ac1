//! Every knob, with its unit and default: one file a command. The only place that reads the
//! environment.

pub mod client;
pub mod credentials;
pub mod demo;
mod effective;
pub mod listen;
pub mod secret;
pub mod serve;
pub mod simulate;
pub mod telemetry;
pub mod tls;
pub mod upstream;

pub use client::{
    ConnectionConfig, CredentialConfig, GetConfig, HealthConfig, LinksConfig, WatchConfig,
};
pub use demo::DemoConfig;
pub use effective::effective;
pub use serve::ServeConfig;
pub use simulate::SimulateConfig;
pub use upstream::{QuotaScope, UpstreamConfig};

use clap::{Parser, Subcommand};

/// The command line.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the gRPC API in front of the GoToAssist REST API
    Serve(Box<ServeConfig>),
    /// Play the GoToAssist REST API, for tests
    Simulate(SimulateConfig),
    /// Show it all in one process, without network: simulator, service and client
    Demo(DemoConfig),
    /// Print one session
    Get(GetConfig),
    /// Print the partner-system links of a domain
    Links(LinksConfig),
    /// Print a session and every change of it until it is over
    Watch(WatchConfig),
    /// Ask a service whether it serves (grpc.health.v1)
    Health(HealthConfig),
}
