//! The settings of the log.

use clap::ValueEnum;

/// The settings of the log.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log")]
#[group(skip)]
pub struct Args {
    /// Format of the log on stderr
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,

    /// Lowest level that is logged: off, error, warn, info, debug or trace. A tracing-subscriber
    /// filter such as `info,gotoassist_grpc::traffic=debug` sets levels by target. Lines of
    /// libraries below `info` are never shown, because they may hold secrets
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Share of successful calls that are logged, from 0 to 1. Calls that ended as planned count as
    /// successful. Failed calls are always logged. Lower it if the log is too large
    #[arg(long, value_name = "SHARE", value_parser = super::value::share, default_value = "1")]
    pub log_ok_calls: f64,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people, with colours on a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}
