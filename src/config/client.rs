//! The settings of `get`, `links`, `watch` and `health`.

use std::{convert::Infallible, time::Duration};

use clap::Args;
use humantime::parse_duration;

use super::{ConnectionConfig, secret::trimmed};

const EXIT_STATUS: &str = "\
Exit status:
  0         done
  1         failed on this side, such as an answer that cannot be read
  2         the command line is wrong
  64 + N    the call failed with gRPC status N, as with grpcurl: 67 invalid argument, 69 not
            found, 71 permission denied, 72 resource exhausted, 78 unavailable, 80 unauthenticated
  130       interrupted with Ctrl-C
  141       nobody reads the output any more";

const WATCH_EXIT_STATUS: &str = "\
Exit status:
  0         the session is over: the last message printed is `terminal`
  1         failed on this side, such as an answer that cannot be read
  2         the command line is wrong
  64 + N    the watch ended with gRPC status N, as with grpcurl: 67 invalid argument, 68 out of
            time (--timeout), 69 not found, 71 permission denied, 80 unauthenticated
  130       interrupted with Ctrl-C
  141       nobody reads the output any more
Unless 0, and if a message came, the last resume token is printed on stderr.";

/// `get`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct GetConfig {
    /// A session id or a session token
    #[arg(value_name = "SESSION")]
    pub session_id: String,

    /// Give up after this time
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Where the service is.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// `links`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct LinksConfig {
    /// The partner system's domain
    #[arg(value_name = "DOMAIN")]
    pub system_domain: String,

    /// Give up after this time
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Where the service is.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// `watch`.
#[derive(Args, Clone, Debug)]
#[command(after_help = WATCH_EXIT_STATUS)]
pub struct WatchConfig {
    /// A session id or a session token
    #[arg(value_name = "SESSION")]
    pub session_id: String,

    /// Go on after the message that this token came with
    #[arg(long, value_name = "TOKEN", value_parser = resume_token)]
    pub resume_token: Option<String>,

    /// Longest silence, from 5 s to 5 min; the service's default is 30 s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub heartbeat: Option<Duration>,

    /// How long to go on after the session's end, for late notes and the recording; at most 24 h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub follow_after_end: Option<Duration>,

    /// End with the first broken stream instead of resuming it
    #[arg(long)]
    pub no_resume: bool,

    /// Give up after this time, all resumed streams together; without it, never
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// Where the service is.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// `health`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 if it serves, 2 if the command line is wrong, otherwise 1")]
pub struct HealthConfig {
    /// Which service to ask about; empty means the server as a whole
    #[arg(long, env = "GOTOASSIST_HEALTH_SERVICE", value_name = "NAME", default_value = "")]
    pub service: String,

    /// Give up after this time
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Where the service is.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// A token as it came, whatever a shell or an editor put around it.
#[expect(clippy::unnecessary_wraps, reason = "a parser of clap's")]
fn resume_token(text: &str) -> Result<String, Infallible> {
    Ok(trimmed(text).to_owned())
}
