//! The settings of `get`, `sessions`, `links`, `watch` and `health`.

use std::{convert::Infallible, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, value_parser};
use humantime::parse_duration;
use jiff::Timestamp;

use super::{ConnectionConfig, secret::trimmed};

const EXIT_STATUS: &str = "\
Exit status:
  0         done
  1         the client failed, for example because it could not read the answer
  2         the command line is wrong
  64 + N    the call failed with gRPC status N, as with grpcurl: 67 invalid argument, 69 not
            found, 71 permission denied, 72 resource exhausted, 78 unavailable, 80 unauthenticated
  130       interrupted with Ctrl-C
  141       the reader of the output is gone";

const WATCH_EXIT_STATUS: &str = "\
Exit status:
  0         the session is over, and the last message printed is `terminal`. With several: all are
  1         the client failed, for example because it could not read the answer
  2         the command line is wrong
  64 + N    the watch ended with gRPC status N, as with grpcurl: 67 invalid argument, 68 out of
            time (--timeout), 69 not found, 71 permission denied, 80 unauthenticated. With
            several sessions: the first that could not be watched to its end
  130       interrupted with Ctrl-C
  141       the reader of the output is gone
For one session: if the status is not 0, stderr has the resume token of the last message, if there
was one.";

/// The heartbeat intervals that the service allows.
const HEARTBEATS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_mins(5);

/// Settings of `get`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct GetConfig {
    /// Session to read: a session id or a session token
    #[arg(value_name = "SESSION")]
    pub session_id: String,

    /// How to print the answer. The default is `text` if stdout is a terminal, else `json`
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,

    /// Longest time for the whole call, as a duration. Raise it if the service often waits for
    /// quota
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// How to reach the service.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// Settings of `sessions`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct SessionsConfig {
    /// Beginning of the time that the list covers: a time such as `2016-10-31T08:30:00Z`, or how
    /// long ago, such as `2h`. The service's default is 24 hours ago
    #[arg(long, value_name = "TIME", value_parser = list_time)]
    pub from: Option<ListTime>,

    /// End of the time that the list covers. The service's default is now
    #[arg(long, value_name = "TIME", value_parser = list_time)]
    pub to: Option<ListTime>,

    /// Only sessions with this status. May be repeated. Without it, sessions with any status
    #[arg(long, value_name = "STATUS", value_enum, value_delimiter = ',')]
    pub status: Vec<ListedStatus>,

    /// Most sessions to print
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..))]
    pub limit: u32,

    /// Most sessions in one call, at most 1000. The service reads the vendor's whole list for each
    /// call
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..))]
    pub page_size: u32,

    /// How to print the sessions. The default is `text` if stdout is a terminal, else `json`
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,

    /// Longest time for each call, as a duration. Raise it if the list is long, or if the service
    /// often waits for quota
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub timeout: Duration,

    /// How to reach the service.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people, in colour on a terminal.
    Text,
    /// One JSON message a line.
    Json,
}

/// A time for `sessions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTime {
    /// This time.
    At(Timestamp),
    /// This long ago.
    Ago(Duration),
}

/// A status for `sessions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListedStatus {
    /// Created, but not started.
    NotStarted,
    /// Waiting for the customer.
    Waiting,
    /// The customer joined.
    Active,
    /// Ended after the customer had joined.
    Complete,
    /// Ended without any customer.
    Abandoned,
    /// Any other status that the vendor sends.
    Other,
}

/// Settings of `links`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct LinksConfig {
    /// Domain of the partner system
    #[arg(value_name = "DOMAIN")]
    pub system_domain: String,

    /// How to print the answer. The default is `text` if stdout is a terminal, else `json`
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,

    /// Longest time for the whole call, as a duration. Raise it if the service often waits for
    /// quota
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// How to reach the service.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// Settings of `watch`.
#[derive(Args, Clone, Debug)]
#[command(after_help = WATCH_EXIT_STATUS)]
pub struct WatchConfig {
    /// Sessions to watch, each by its id or its token. Several are watched on one stream
    #[arg(value_name = "SESSION", required_unless_present = "all")]
    pub session_ids: Vec<String>,

    /// Watch every session of the account that is open or starts, until Ctrl-C
    #[arg(long)]
    pub all: bool,

    /// With --all: also the sessions that ended within this time
    #[arg(long, value_name = "DURATION", requires = "all", value_parser = parse_duration)]
    pub from: Option<Duration>,

    /// Resume token of an earlier message. The watch continues after that message. Only for one
    /// session
    #[arg(long, value_name = "TOKEN", conflicts_with = "all", value_parser = resume_token)]
    pub resume_token: Option<String>,

    /// File that keeps the resume tokens. If the command is started again with the same file, it goes
    /// on after the last message: nothing is missed or repeated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "resume_token"])]
    pub state_file: Option<PathBuf>,

    /// Shell command to run for each snapshot and each change, one after the other. It has the
    /// message as JSON on stdin, and `WATCH_SESSION_ID`, `WATCH_EVENT_TYPE` and `WATCH_STATUS` in its
    /// environment. If it fails, the watch ends
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,

    /// How to print the messages: text for people, which several sessions update in place on a
    /// terminal, or one line of JSON each. The default is text on a terminal, and JSON otherwise
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,

    /// Longest time between two messages, from 5 s to 5 min. The service's default is 30 s. Lower
    /// it to notice a broken connection sooner
    #[arg(long, value_name = "DURATION", value_parser = heartbeat)]
    pub heartbeat: Option<Duration>,

    /// How long the watch continues after the session's end, at most 24 h. Set it to see late notes
    /// and the recording
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub follow_after_end: Option<Duration>,

    /// End when the stream breaks, instead of resuming the watch
    #[arg(long)]
    pub no_resume: bool,

    /// Longest time for the whole watch, across all resumed streams. Without it there is no limit
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// How to reach the service.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// Settings of `health`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 if it serves, 2 if the command line is wrong, otherwise 1")]
pub struct HealthConfig {
    /// Name of the service to check. Empty means the whole server
    #[arg(long, env = "GOTOASSIST_HEALTH_SERVICE", value_name = "NAME", default_value = "")]
    pub service: String,

    /// How to print the answer. The default is `text` if stdout is a terminal, else `json`
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,

    /// Longest time for the whole check, as a duration
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// How to reach the service.
    #[command(flatten)]
    pub connection: ConnectionConfig,
}

/// Removes white space and a byte order mark, which a shell or an editor may add to a token.
#[expect(clippy::unnecessary_wraps, reason = "clap requires this signature")]
fn resume_token(text: &str) -> Result<String, Infallible> {
    Ok(trimmed(text).to_owned())
}

/// The service would take the nearest interval that it allows, without a word.
fn heartbeat(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(interval) if HEARTBEATS.contains(&interval) => Ok(interval),
        Ok(_) => Err("must be from 5s to 5m".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn list_time(text: &str) -> Result<ListTime, &'static str> {
    let at = text.parse().map(ListTime::At);
    at.or_else(|_| parse_duration(text).map(ListTime::Ago))
        .map_err(|_| "must be a time such as 2016-10-31T08:30:00Z, or how long ago, such as 2h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_list_is_a_time_or_how_long_ago() {
        let at = "2016-10-31T08:30:00Z";
        assert_eq!(list_time(at), Ok(ListTime::At(at.parse().unwrap())));
        assert_eq!(list_time("2016-10-31T10:30:00+02:00"), list_time(at));
        assert_eq!(list_time("2h"), Ok(ListTime::Ago(Duration::from_hours(2))));
        for text in ["", "yesterday", "2016-10-31", "2016-10-31T08:30:00", "-2h"] {
            assert!(list_time(text).is_err(), "{text}");
        }
    }
}
