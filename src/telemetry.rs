//! Sets up what the process writes about itself: the log on stderr, and a line for each panic.

mod gather;
mod plain;

use std::{io, io::IsTerminal as _, panic};

use tracing::{Level, error};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use gather::Gather;
pub use gather::Guard;
use plain::Plain;

use crate::config::telemetry::{Args, LogFormat, LogLevel};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--log` is no filter.
    #[error("--log is no filter of log levels")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The log's thread cannot be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[from] io::Error),
    /// There is a log already.
    #[error("the log is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the log of the whole process, which is whole once the guard is dropped.
pub fn install(args: &Args) -> Result<Guard, Error> {
    // The libraries' inner lines may hold headers and addresses, and so tokens and session ids:
    // whatever filter is asked for, they are not to be had.
    let filter = filter(args)?.and(filter_fn(|line| is_shown(line.target(), *line.level())));
    let (gather, guard) = Gather::new(io::stderr())?;
    let is_seen = io::stderr().is_terminal();
    let output = fmt::layer().with_writer(gather).with_ansi(is_seen);
    let output = match args.log_format {
        LogFormat::Pretty if is_seen => output.boxed(),
        LogFormat::Pretty => output.event_format(Plain).boxed(),
        LogFormat::Json => output.json().flatten_event(true).with_span_list(false).boxed(),
    };
    Registry::default().with(output.with_filter(filter)).try_init()?;
    log_panics();
    Ok(guard)
}

/// Whether the filter can be read, for checks before anything starts.
pub fn check(args: &Args) -> Result<(), Error> {
    filter(args).map(drop)
}

fn filter(args: &Args) -> Result<EnvFilter, Error> {
    if let Some(filter) = &args.log {
        return Ok(EnvFilter::builder().parse(filter)?);
    }
    let level = match args.log_level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let most = if level == LevelFilter::TRACE { LevelFilter::INFO } else { LevelFilter::WARN };
    let libraries = level.min(most);
    let filter = EnvFilter::builder().with_default_directive(libraries.into()).parse("")?;
    Ok(filter.add_directive(format!("gotoassist_grpc={level}").parse()?))
}

/// Whether a line may be shown at all.
fn is_shown(target: &str, level: Level) -> bool {
    let is_ours = target.split("::").next() == Some("gotoassist_grpc");
    is_ours || level <= Level::INFO
}

/// The message of a panic may hold anything, also secrets; the place is enough to find it.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        error!(place, "panic: this is a bug");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(log_level: LogLevel, log: Option<&str>) -> Args {
        Args {
            log_format: LogFormat::Json,
            log_level,
            log: log.map(str::to_owned),
            log_ok_calls: 1.0,
        }
    }

    #[test]
    fn libraries_stay_quiet_unless_asked() {
        for (level, directives) in [
            (LogLevel::Off, "gotoassist_grpc=off,off"),
            (LogLevel::Error, "gotoassist_grpc=error,error"),
            (LogLevel::Debug, "gotoassist_grpc=debug,warn"),
            (LogLevel::Trace, "gotoassist_grpc=trace,info"),
        ] {
            assert_eq!(filter(&args(level, None)).unwrap().to_string(), directives);
        }
    }

    #[test]
    fn inner_lines_of_libraries_are_never_shown() {
        assert!(is_shown("gotoassist_grpc::rest::upstream", Level::TRACE));
        assert!(is_shown("hyper::proto", Level::INFO));
        assert!(!is_shown("hyper::proto", Level::DEBUG));
        assert!(!is_shown("gotoassist_grpc_else", Level::TRACE));
    }

    #[test]
    fn a_filter_of_ones_own_is_taken_as_it_is_or_refused() {
        let own = "info,gotoassist_grpc::rest=debug";
        let filter = filter(&args(LogLevel::Off, Some(own))).unwrap().to_string();
        assert!(filter.contains("gotoassist_grpc::rest=debug") && filter.contains("info"));
        assert!(check(&args(LogLevel::Info, Some("info=no=filter"))).is_err());
    }
}
