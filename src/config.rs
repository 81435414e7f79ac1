//! Every knob, with its unit and default: one file a command. The only place that reads the
//! environment.

pub mod client;
pub mod credentials;
pub mod demo;
mod effective;
mod environment;
mod line;
pub mod listen;
pub mod secret;
pub mod serve;
pub mod simulate;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod upstream;

pub use client::{
    ConnectionConfig, CredentialConfig, GetConfig, HealthConfig, LinksConfig, WatchConfig,
};
pub use demo::DemoConfig;
pub use effective::effective;
pub use line::{Fault, Line};
pub use serve::ServeConfig;
pub use simulate::SimulateConfig;
pub use upstream::{QuotaScope, UpstreamConfig};

use clap::{Parser, Subcommand};
use url::Url;

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

/// An address under which there is more.
fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        Err("must begin with http:// or https://".to_owned())
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("must not hold a user name or password".to_owned())
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("must not hold a query or fragment".to_owned())
    } else {
        Ok(url)
    }
}

/// A part of the whole.
fn share(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1"),
    }
}
