//! What the process says about itself.

use clap::ValueEnum;

/// Logs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log")]
#[group(skip)]
pub struct Args {
    /// Form of the log on stderr
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,

    /// Least level that is logged: off, error, warn, info, debug or trace; or levels by target, such
    /// as `info,gotoassist_grpc::traffic=debug`, in the form of a tracing-subscriber filter. Lines of
    /// libraries below `info` are never shown: they may hold secrets
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Share of the calls that went well, or ended as planned, that get a line in the log, from 0 to 1.
    /// Failed ones always do
    #[arg(long, value_name = "SHARE", value_parser = super::value::share, default_value = "1")]
    pub log_ok_calls: f64,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people, in colour on a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}
