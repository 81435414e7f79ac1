//! The settings of the commands for operators: `status` and `session-digest`.

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
    /// Address of the admin port
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464", value_parser = base_url)]
    pub admin: Url,

    /// How to print the state. The default is `text` if stdout is a terminal, else `json`
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,

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
