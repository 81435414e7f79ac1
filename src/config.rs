//! Every setting, with its unit and default. Each command has its own file. Only this module reads
//! the environment.

#[cfg(feature = "service")]
pub mod callback;
#[cfg(feature = "command")]
mod client;
#[cfg(feature = "command")]
mod command_line;
#[cfg(feature = "client")]
mod connection;
#[cfg(feature = "service")]
pub mod credentials;
#[cfg(feature = "command")]
mod demo;
#[cfg(any(feature = "service", feature = "simulator"))]
mod flags;
#[cfg(feature = "service")]
pub mod fleet;
#[cfg(feature = "service")]
pub mod listen;
#[cfg(feature = "command")]
mod login;
#[cfg(feature = "command")]
mod operator;
#[cfg(any(feature = "client", feature = "service"))]
pub mod secret;
#[cfg(feature = "service")]
pub mod serve;
#[cfg(feature = "command")]
mod shell;
#[cfg(feature = "simulator")]
pub mod simulate;
#[cfg(feature = "service")]
pub mod telemetry;
#[cfg(feature = "service")]
pub mod tls;
#[cfg(feature = "service")]
pub mod trace;
#[cfg(feature = "command")]
mod unknown;
#[cfg(feature = "service")]
pub mod upstream;
#[cfg(feature = "service")]
mod value;

#[cfg(feature = "command")]
pub use client::{
    GetConfig, HealthConfig, LinksConfig, ListTime, ListedStatus, OutputFormat, SessionsConfig,
    WatchConfig,
};
#[cfg(feature = "command")]
pub use command_line::{Cli, Command, Setting, Source, command, effective};
#[cfg(feature = "client")]
pub use connection::{ConnectionConfig, CredentialConfig};
#[cfg(feature = "command")]
pub use demo::DemoConfig;
#[cfg(any(feature = "service", feature = "simulator"))]
pub use flags::from_flags;
#[cfg(feature = "service")]
pub use fleet::FleetConfig;
#[cfg(feature = "command")]
pub use login::LoginConfig;
#[cfg(feature = "command")]
pub use operator::{AdminPortConfig, LogLevelConfig, SessionDigestConfig, StatusConfig};
#[cfg(feature = "service")]
pub use serve::ServeConfig;
#[cfg(feature = "command")]
pub use shell::{CompletionsConfig, ManConfig, ShellName};
#[cfg(feature = "simulator")]
pub use simulate::SimulateConfig;
#[cfg(feature = "command")]
pub use unknown::{UnknownVariable, unknown_variables};
#[cfg(feature = "service")]
pub use upstream::{QuotaScope, RouteConfig, UpstreamConfig};
