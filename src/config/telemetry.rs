//! What the process says about itself.

use clap::ValueEnum;

/// Logs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log")]
#[group(skip)]
pub struct Args {
    /// Form of the log on stderr
    #[arg(
        long,
        env = "GOTOASSIST_LOG_FORMAT",
        value_name = "FORM",
        value_enum,
        default_value_t = LogFormat::Pretty
    )]
    pub log_format: LogFormat,

    /// Least level that is logged; `--log` says it finer
    #[arg(
        long,
        env = "GOTOASSIST_LOG_LEVEL",
        value_name = "LEVEL",
        value_enum,
        default_value_t = LogLevel::Info
    )]
    pub log_level: LogLevel,

    /// Levels by target, such as `info,gotoassist_grpc::rest=debug`, instead of --log-level. Form
    /// of a tracing-subscriber filter. Lines of libraries below `info` are never shown: they may
    /// hold secrets
    #[arg(long, env = "GOTOASSIST_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// Share of the calls that went well, or ended as planned, that get a line in the log, from 0 to 1.
    /// Failed ones always do
    #[arg(
        long,
        env = "GOTOASSIST_LOG_OK_CALLS",
        value_name = "SHARE",
        value_parser = super::share,
        default_value = "1"
    )]
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

/// Levels of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What somebody must look at.
    Error,
    /// And what may become trouble.
    Warn,
    /// And every call.
    Info,
    /// And what each part does.
    Debug,
    /// And all of it. Of the libraries below only what they say at `info`: finer lines of theirs
    /// hold headers, and are never shown.
    Trace,
}
