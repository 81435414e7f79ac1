//! The settings of `serve`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use humantime::parse_duration;
use secrecy::SecretString;

use super::{
    credentials::CredentialsConfig,
    listen::ListenAddress,
    telemetry, tls, trace,
    upstream::UpstreamConfig,
    value::{positive, positive_duration},
};

/// How the service runs. Durations are written like `10s`, `500ms` or `1m 30s`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeConfig {
    /// Check the configuration, print what is in effect, and exit: 0 if it can be served, else 2
    /// with all that is wrong. Opens no port and asks nobody
    #[arg(long)]
    pub check: bool,

    /// Where the gRPC API listens: ADDRESS:PORT, or unix:PATH. There, clients of grpcio, C++, Ruby, PHP
    /// and Java must set the authority themselves, such as the channel option
    /// `grpc.default_authority=localhost`: theirs is the path, which HTTP/2 does not allow
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: ListenAddress,

    /// Where /metrics, /livez, /readyz and the status page listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub admin_listen: SocketAddr,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub upstream: UpstreamConfig,

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
    pub limits: LimitsConfig,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub telemetry: telemetry::Args,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub trace: trace::Args,
}

impl ServeConfig {
    /// Everything that is wrong with it, each in a sentence.
    pub fn problems(&self) -> Vec<String> {
        let is_exposed = !self.listen.is_loopback();
        let mut problems = self.credentials.problems(is_exposed, self.tls.tls_cert.is_some());
        problems.extend(self.tls.problems());
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
}

/// How sessions are watched.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Watches")]
#[group(skip)]
pub struct PollConfig {
    /// Time between two polls of a session that is not started, with quota to spare
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    pub poll_not_started: Duration,

    /// Time between two polls of a session that waits for the customer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = positive_duration)]
    pub poll_waiting: Duration,

    /// Time between two polls of an active session
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive_duration)]
    pub poll_active: Duration,

    /// Time between two polls of a session that is over, for late notes
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive_duration)]
    pub poll_ended: Duration,

    /// How long the vendor may fail before watches end with UNAVAILABLE
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    pub outage_limit: Duration,

    /// Greatest age of a watch stream, ± 10 %; its client then reconnects, perhaps elsewhere
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = positive_duration)]
    pub max_stream_age: Duration,

    /// How long a message may wait for a watcher to take it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive_duration)]
    pub slow_watcher_limit: Duration,

    /// Key of the resume tokens, any text, the same on all replicas. Without it they are sealed
    /// with a built-in key: damage and mix-ups are told all the same, and they give no access to
    /// anything
    #[arg(long, value_name = "TEXT", hide_env_values = true)]
    pub resume_key: Option<SecretString>,

    /// File with the key of the resume tokens
    #[arg(long, value_name = "FILE")]
    pub resume_key_file: Option<PathBuf>,
}

/// How much the service takes on.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits and drain")]
#[group(skip)]
pub struct LimitsConfig {
    /// How long a call without a deadline of its own may take, from its headers on; a watch: until
    /// its first message
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive_duration)]
    pub default_deadline: Duration,

    /// Open watches at once
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = positive::<usize>)]
    pub max_watches: usize,

    /// Open watches at once of one caller: one credential, or one client of the service
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = positive::<usize>)]
    pub max_watches_per_caller: usize,

    /// Unary calls at once; one more is refused at once (health and reflection do not count). One
    /// caller gets half of them at most
    #[arg(long, value_name = "COUNT", default_value_t = 2_000, value_parser = positive::<usize>)]
    pub max_calls: usize,

    /// Open connections at once; fewer if the limit on file descriptors leaves no room for so many
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = positive::<usize>)]
    pub max_connections: usize,

    /// Calls at once on one connection, watches among them
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = positive::<u32>)]
    pub max_streams: u32,

    /// Most bytes of metadata in a call, credentials among it, as HTTP/2 counts them (name, value and
    /// 32 for each entry); 2 KiB more for what every call has. A call with more gets
    /// `INVALID_ARGUMENT`; with more than twice as much, a bare HTTP 431
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = positive::<u32>)]
    pub max_header_list: u32,

    /// Greatest age of a connection, ± 10 %: then it takes no new calls, and its client makes a new
    /// one, perhaps to another replica. Its open calls and watches go on to their end
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub max_connection_age: Duration,

    /// How long a client may take from connecting to its first HTTP/2 frame, TLS included
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    pub handshake_timeout: Duration,

    /// On SIGTERM, how long to go on as before while load balancers notice that health says
    /// NOT_SERVING
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// On SIGTERM, time until the process is gone, whatever is still open; --drain-delay included
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = positive_duration)]
    pub drain_grace: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_flags;

    #[test]
    fn zero_is_refused_where_nothing_would_work_with_it() {
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
