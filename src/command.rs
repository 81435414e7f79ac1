//! What the binary does, one file a command: the exit status, and what stdout and stderr say.

pub mod demo;
pub mod get;
pub mod health;
mod json;
pub mod links;
pub mod output;
pub mod serve;
pub mod signal;
pub mod simulate;
pub mod watch;

use std::{env, io, num::NonZero, process::ExitCode, thread};

use tokio::runtime::{self, Runtime};

use crate::{
    client::Client,
    config::{Cli, Command, ConnectionConfig},
};

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

/// Reads the command line and the environment, and runs the command to its end.
pub fn run() -> ExitCode {
    let command = match Cli::read(env::args_os()) {
        Ok(cli) => cli.command,
        Err(error) => return output::usage(&error),
    };
    // Who has already installed one is welcome.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match command {
        // This one only waits for signals; the calls have a runtime of their own.
        Command::Serve(_) => runtime::Builder::new_current_thread().enable_all().build(),
        Command::Simulate(_)
        | Command::Demo(_)
        | Command::Get(_)
        | Command::Links(_)
        | Command::Watch(_)
        | Command::Health(_) => worker_runtime(),
    };
    match runtime.map(|runtime| runtime.block_on(dispatch(command))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(status)) => ExitCode::from(status),
        Err(error) => ExitCode::from(output::fail(FAILED, &error)),
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

/// `Err` is the exit status.
async fn dispatch(command: Command) -> Result<(), u8> {
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

/// A client of the service that the command line names.
fn client(config: &ConnectionConfig) -> Result<Client, u8> {
    Client::connect(config).map_err(|error| output::fail(USAGE, &error))
}
