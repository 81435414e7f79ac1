//! What the binary does, one file a command: the exit status, and what stdout and stderr say.

pub mod demo;
pub mod get;
pub mod health;
pub mod links;
pub mod output;
pub mod serve;
pub mod signal;
pub mod simulate;
pub mod watch;

use std::{env, io, num::NonZero, process::ExitCode, thread};

use tokio::runtime::{self, Runtime};

use crate::config::{Command, Line};

/// Something failed that no gRPC status tells of.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// Ended with Ctrl-C, as a shell tells it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// Nobody reads the output any more, as a shell tells it: 128 + SIGPIPE.
const UNREAD: u8 = 141;

/// The most worker threads of a runtime. The vendor's quota keeps one busy at most; the others are for
/// callers that come in bursts, and for watchers that all hear of a change.
const MAX_WORKERS: usize = 4;

/// Parses the command line; `Err` if there is nothing to run, after help or a complaint.
pub fn parse() -> Result<Command, ExitCode> {
    let Line { cli, faults } = Line::read(env::args_os()).map_err(|asked| output::usage(&asked))?;
    let command = match cli.map(|cli| cli.command) {
        Some(command) if faults.is_empty() => return Ok(command),
        command => command,
    };
    for fault in &faults {
        output::usage(&fault.error);
    }
    // What else is wrong with it is told as well.
    if let Some(command) = command
        && let Ok(runtime) = runtime(&command)
        && let Command::Serve(config) = command
    {
        runtime.block_on(serve::tell_problems(&config, &faults));
    }
    Err(ExitCode::from(USAGE))
}

/// Runs a command to its end.
pub fn run(command: Command) -> ExitCode {
    // Who has already installed one is welcome.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match runtime(&command) {
        Ok(runtime) => ExitCode::from(runtime.block_on(dispatch(command))),
        Err(error) => ExitCode::from(output::fail(FAILED, &error)),
    }
}

fn runtime(command: &Command) -> io::Result<Runtime> {
    match command {
        // This one only waits for signals; the calls have a runtime of their own.
        Command::Serve(_) => runtime::Builder::new_current_thread().enable_all().build(),
        Command::Simulate(_)
        | Command::Demo(_)
        | Command::Get(_)
        | Command::Links(_)
        | Command::Watch(_)
        | Command::Health(_) => worker_runtime(),
    }
}

/// A runtime with a worker thread for each core, up to [`MAX_WORKERS`].
fn worker_runtime() -> io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .thread_name("worker")
        .enable_all()
        .build()
}

async fn dispatch(command: Command) -> u8 {
    match command {
        Command::Serve(config) => serve::run(*config).await,
        Command::Simulate(config) => simulate::run(&config).await,
        Command::Demo(config) => demo::run(&config).await,
        Command::Get(config) => get::run(&config).await,
        Command::Links(config) => links::run(&config).await,
        Command::Watch(config) => watch::run(&config).await,
        Command::Health(config) => health::run(&config).await,
    }
}
