//! The settings of `serve`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use humantime::parse_duration;
use secrecy::SecretString;

use super::{
    callback,
    credentials::CredentialsConfig,
    fleet::FleetConfig,
    listen::ListenAddress,
    telemetry, tls, trace,
    upstream::{QuotaScope, UpstreamConfig},
    value::{positive, positive_duration},
};

/// The greatest number of worker threads.
const MAX_WORKERS: usize = 1024;

/// Settings of `serve`. Durations are written like `10s`, `500ms` or `1m 30s`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeConfig {
    /// Check the configuration, print the effective settings, and exit. The exit status is 0 if the
    /// configuration is valid. Otherwise it is 2, and all problems are printed. The check opens no
    /// port and sends no request
    #[arg(long)]
    pub check: bool,

    /// Address of the gRPC API: ADDRESS:PORT, or unix:PATH. With a Unix socket, clients of grpcio,
    /// C++, Ruby, PHP and Java must set the authority, for example with the channel option
    /// `grpc.default_authority=localhost`. By default they send the path, which HTTP/2 does not
    /// allow
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: ListenAddress,

    /// Address of /metrics, /livez, /readyz and the status page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub admin_listen: SocketAddr,

    /// Number of worker threads, at most 1024 [default: the number of cores that the process may
    /// use, at most 4]
    #[arg(long, value_name = "COUNT", value_parser = workers)]
    pub workers: Option<usize>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub upstream: UpstreamConfig,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub fleet: FleetConfig,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub credentials: CredentialsConfig,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub tls: tls::Args,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub watch: PollConfig,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub callback: callback::Args,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub limits: LimitsConfig,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub telemetry: telemetry::Args,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub trace: trace::Args,
}

impl ServeConfig {
    /// Returns every problem of the configuration, each as a sentence.
    pub fn problems(&self) -> Vec<String> {
        let is_exposed = !self.listen.is_loopback();
        let mut problems = self.credentials.problems(is_exposed, self.tls.tls_cert.is_some());
        problems.extend(self.tls.problems());
        problems.extend(self.fleet.problems());
        if self.fleet.fleet_url.is_some() && self.upstream.quota_scope == QuotaScope::Credential {
            let text = "--fleet-url shares one quota for all: it needs --quota-scope process.";
            problems.push(text.to_owned());
        }
        problems.extend(self.callback.problems());
        problems.extend(self.trace.problems());
        if self.watch.resume_key.is_some() && self.watch.resume_key_file.is_some() {
            let text = "Only one of --resume-key and --resume-key-file can be used.";
            problems.push(text.to_owned());
        }
        if self.limits.drain_delay >= self.limits.drain_grace {
            problems.push("--drain-delay must be shorter than --drain-grace.".to_owned());
        }
        problems
    }

    /// Returns the dangers of a valid configuration, each as a sentence.
    pub fn warnings(&self) -> Vec<String> {
        let is_readable = !self.listen.is_loopback() && self.tls.tls_cert.is_none();
        let has_tokens = self.credentials.client_tokens_file.is_some();
        let text = "Callers send their bearer tokens in clear text: set --tls-cert and --tls-key, \
            or --trust-network if the network encrypts.";
        let is_dangerous = is_readable && has_tokens && !self.credentials.trust_network;
        is_dangerous.then(|| text.to_owned()).into_iter().collect()
    }
}

/// Parses the number of worker threads. The runtime would panic at 0, and fail at a huge number.
fn workers(text: &str) -> Result<usize, String> {
    match positive(text) {
        Ok(count) if count > MAX_WORKERS => Err(format!("must be at most {MAX_WORKERS}")),
        other => other,
    }
}

/// Settings of watches.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Watches")]
#[group(skip)]
pub struct PollConfig {
    /// Time between two polls of a session that is not started. Under a tight quota it becomes
    /// longer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    pub poll_not_started: Duration,

    /// Time between two polls of a session that waits for the customer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = positive_duration)]
    pub poll_waiting: Duration,

    /// Time between two polls of an active session
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive_duration)]
    pub poll_active: Duration,

    /// Time between two polls of a session that is over. These polls find late notes
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive_duration)]
    pub poll_ended: Duration,

    /// Whether the service reads the vendor's list of sessions. It then polls the sessions first
    /// that have changed
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Sweep::Auto)]
    pub sweep: Sweep,

    /// Longest outage of the vendor, as a duration. Then watches end with UNAVAILABLE
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    pub outage_limit: Duration,

    /// Longest age of a watch stream, ± 10 %. Then the client resumes it, perhaps on another
    /// replica
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = positive_duration)]
    pub max_stream_age: Duration,

    /// Longest time that a message waits for a slow consumer. Then the watch ends
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive_duration)]
    pub slow_watcher_limit: Duration,

    /// Key of the resume tokens, any text. Set the same key on all replicas. Without it the service
    /// uses a built-in key, which still detects damaged and mixed-up tokens. Resume tokens give
    /// access to nothing
    #[arg(long, value_name = "TEXT", hide_env_values = true)]
    pub resume_key: Option<SecretString>,

    /// File with the key of the resume tokens
    #[arg(long, value_name = "FILE")]
    pub resume_key_file: Option<PathBuf>,
}

/// Whether the service reads the vendor's list of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sweep {
    /// For each credential for which the list costs fewer requests than single polls.
    Auto,
    /// Only for callers that ask for all sessions.
    Off,
}

/// Limits on load, and the drain.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits and drain")]
#[group(skip)]
pub struct LimitsConfig {
    /// Deadline of a call that sets none. The time begins when the headers arrive. For a watch it
    /// limits the time until the first message
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive_duration)]
    pub default_deadline: Duration,

    /// Most open watches
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = positive::<usize>)]
    pub max_watches: usize,

    /// Most open watches of one caller: one credential, or one client of the service
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = positive::<usize>)]
    pub max_watches_per_caller: usize,

    /// Most sessions on one stream of `WatchSessions`. Each also counts as an open watch
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = positive::<usize>)]
    pub max_sessions_per_stream: usize,

    /// Most open streams of `WatchSessions`. Each can hold a message of 4 MiB
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = positive::<usize>)]
    pub max_session_streams: usize,

    /// Most open streams of `WatchSessions` of one caller
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = positive::<usize>)]
    pub max_session_streams_per_caller: usize,

    /// Most in-flight unary calls, without health and reflection. The service refuses further calls
    /// at once. One caller gets at most half of them
    #[arg(long, value_name = "COUNT", default_value_t = 2_000, value_parser = positive::<usize>)]
    pub max_calls: usize,

    /// Most open connections. The service accepts fewer if the limit on file descriptors is too low
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = positive::<usize>)]
    pub max_connections: usize,

    /// Most in-flight calls of one connection, including watches
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = positive::<u32>)]
    pub max_streams: u32,

    /// Most bytes of metadata in a call, including credentials. HTTP/2 counts the name, the value
    /// and 32 bytes for each entry. Another 2 KiB are allowed for standard headers. A larger call
    /// fails with `INVALID_ARGUMENT`, and one with more than twice as much with a bare HTTP 431
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = positive::<u32>)]
    pub max_header_list: u32,

    /// Longest age of a connection, ± 10 %. Then it takes no new calls, and its client opens a new
    /// one, perhaps to another replica. Calls and watches that are open continue to their end
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub max_connection_age: Duration,

    /// Longest time from connecting to the first HTTP/2 frame, including the TLS handshake
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    pub handshake_timeout: Duration,

    /// Time after SIGTERM in which the service continues as before, while health reports
    /// NOT_SERVING. Set it to the time in which load balancers notice that. It is left out if nobody
    /// is connected and nobody has asked for the health within a minute
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// Longest time from SIGTERM to the end of the process, including --drain-delay. Calls that are
    /// still open then are cut
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = positive_duration)]
    pub drain_grace: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_flags;

    #[test]
    fn zero_is_refused_for_limits_and_times_that_must_be_positive() {
        for flag in ["--max-calls", "--max-streams", "--upstream-burst", "--max-header-list"] {
            let error = from_flags::<ServeConfig>([flag, "0"]).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains("must be at least 1"), "{error}");
        }
        for flag in ["--poll-active", "--drain-grace", "--upstream-timeout", "--max-stream-age"] {
            let error = from_flags::<ServeConfig>([flag, "0s"]).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains("must be longer than zero"), "{error}");
        }
    }
}
