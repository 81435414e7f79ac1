//! Every setting, with its unit and default: one file a command. The only place that reads the
//! environment.

pub mod client;
mod command_line;
pub mod connection;
pub mod credentials;
pub mod demo;
pub mod listen;
pub mod secret;
pub mod serve;
pub mod simulate;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod upstream;
mod value;

pub use client::{GetConfig, HealthConfig, LinksConfig, WatchConfig};
pub use command_line::{Cli, Command, effective, from_flags};
pub use connection::{ConnectionConfig, CredentialConfig};
pub use demo::DemoConfig;
pub use serve::ServeConfig;
pub use simulate::SimulateConfig;
pub use upstream::{QuotaScope, UpstreamConfig};
