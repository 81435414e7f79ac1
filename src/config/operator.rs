//! The settings of the commands for operators: `status`, `log-level` and `session-digest`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use humantime::parse_duration;
use secrecy::SecretString;
use url::Url;

use super::{client::OutputFormat, value::base_url};

/// Settings of `status`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit status: 0 if it is ready, 2 if the command line is wrong, otherwise 1"
)]
pub struct StatusConfig {
    /// How to print the state. The default is `text` if stdout is a terminal, else `json`
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,

    /// How to reach the admin port.
    #[command(flatten)]
    pub admin_port: AdminPortConfig,
}

/// Settings of `log-level`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 if it worked, 2 if the command line is wrong, otherwise 1")]
pub struct LogLevelConfig {
    /// The new level, as for `serve --log-level`. It holds until the service restarts
    #[arg(value_name = "LEVEL")]
    pub level: Option<String>,

    /// Go back to the level of `--log-level`
    #[arg(long, conflicts_with = "level")]
    pub reset: bool,

    /// How to print the level. The default is `text` if stdout is a terminal, else `json`
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,

    /// How to reach the admin port.
    #[command(flatten)]
    pub admin_port: AdminPortConfig,
}

/// How to reach the admin port of a service.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct AdminPortConfig {
    /// Address of the admin port
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464", value_parser = admin_url)]
    pub admin: Url,

    /// Longest time for the answer, as a duration
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Settings of `session-digest`.
#[derive(Args, Clone, Debug)]
pub struct SessionDigestConfig {
    /// Sessions, each by its id or its token, as callers ask for it
    #[arg(value_name = "SESSION", required = true)]
    pub session_ids: Vec<String>,

    /// Key of the service, as for `serve`
    #[arg(long, value_name = "TEXT", hide_env_values = true, conflicts_with = "resume_key_file")]
    pub resume_key: Option<SecretString>,

    /// File with the key of the service, as for `serve`
    #[arg(long, value_name = "FILE")]
    pub resume_key_file: Option<PathBuf>,
}

/// Parses the address of an admin port. `host:port` without a scheme means http.
fn admin_url(text: &str) -> Result<Url, String> {
    if text.contains("://") { base_url(text) } else { base_url(&format!("http://{text}")) }
}
