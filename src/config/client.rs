//! The knobs of `get`, `links`, `watch` and `health`.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use clap::Args;
use humantime::parse_duration;
use secrecy::SecretString;

use super::secret::trimmed;

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
    #[arg(value_name = "SESSION", allow_negative_numbers = true)]
    pub session_id: String,

    /// Give up after this time
    #[arg(long, env = "GOTOASSIST_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
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
    #[arg(long, env = "GOTOASSIST_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
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
    #[arg(value_name = "SESSION", allow_negative_numbers = true)]
    pub session_id: String,

    /// Go on after the message that this token came with
    #[arg(long, env = "GOTOASSIST_RESUME_TOKEN", value_name = "TOKEN", value_parser = resume_token)]
    pub resume_token: Option<String>,

    /// Longest silence, from 5 s to 5 min; the service's default is 30 s
    #[arg(long, env = "GOTOASSIST_HEARTBEAT", value_name = "DURATION", value_parser = parse_duration)]
    pub heartbeat: Option<Duration>,

    /// How long to go on after the session's end, for late notes and the recording; at most 24 h
    #[arg(long, env = "GOTOASSIST_FOLLOW_AFTER_END", value_name = "DURATION", value_parser = parse_duration)]
    pub follow_after_end: Option<Duration>,

    /// End with the first broken stream instead of resuming it
    #[arg(long, env = "GOTOASSIST_NO_RESUME")]
    pub no_resume: bool,

    /// Give up after this time, all resumed streams together; without it, never
    #[arg(long, env = "GOTOASSIST_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
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
    #[arg(long, env = "GOTOASSIST_TIMEOUT", value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Where the service is.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// Where the service is, and who calls it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionConfig {
    /// Addresses of the service, separated by commas: http://, https:// or unix:PATH; the next one is
    /// tried when one cannot be reached
    #[arg(
        long,
        env = "GOTOASSIST_SERVER",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:50051",
        value_parser = server_address
    )]
    pub server: Vec<String>,

    /// Certificates (PEM) to trust for https, in place of the system's
    #[arg(long, env = "GOTOASSIST_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Certificate (PEM, with its chain) to show to the service
    #[arg(
        long,
        env = "GOTOASSIST_CLIENT_CERTIFICATE_FILE",
        value_name = "FILE",
        requires = "client_key_file"
    )]
    pub client_certificate_file: Option<PathBuf>,

    /// Private key (PEM) of that certificate
    #[arg(
        long,
        env = "GOTOASSIST_CLIENT_KEY_FILE",
        value_name = "FILE",
        requires = "client_certificate_file"
    )]
    pub client_key_file: Option<PathBuf>,

    /// Who calls.
    #[command(flatten)]
    pub credential: CredentialConfig,
}

impl ConnectionConfig {
    /// Plain or system-trusted TLS to `server`, with a bearer token.
    pub fn bearer(server: String, token: &str) -> Self {
        Self {
            server: vec![server],
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            credential: CredentialConfig {
                token: Some(token.into()),
                token_file: None,
                authorization: None,
            },
        }
    }
}

/// Who calls. At most one of them.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct CredentialConfig {
    /// Access token, sent as `authorization: Bearer TOKEN`
    #[arg(long, env = "GOTOASSIST_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<SecretString>,

    /// File that holds the access token; read again for each call
    #[arg(long, env = "GOTOASSIST_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// The whole `authorization`, such as `OAuth oauth_token=TOKEN`
    #[arg(long, env = "GOTOASSIST_AUTHORIZATION", hide_env_values = true, value_name = "VALUE")]
    pub authorization: Option<SecretString>,
}

/// A token as it came, whatever a shell or an editor put around it.
#[expect(clippy::unnecessary_wraps, reason = "a parser of clap's")]
fn resume_token(text: &str) -> Result<String, Infallible> {
    Ok(trimmed(text).to_owned())
}

/// `host:port` alone means http.
fn server_address(text: &str) -> Result<String, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let is_path = !path.trim_start_matches('/').is_empty();
        return if is_path { Ok(text.to_owned()) } else { Err("unix: needs a path".to_owned()) };
    }
    let address = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: http::Uri = address.parse().map_err(|error| format!("{error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(address),
        _ => Err("it must begin with http://, https:// or unix:".to_owned()),
    }
}
