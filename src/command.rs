//! The commands of the binary, each in its own file: their exit status and output.

mod admin_port;
mod board;
mod completions;
pub mod demo;
pub mod get;
pub mod health;
mod json;
pub mod links;
pub mod log_level;
pub mod login;
mod man;
mod news;
pub mod output;
pub mod overview;
pub mod serve;
pub mod session_digest;
mod session_line;
pub mod sessions;
pub mod signal;
pub mod simulate;
mod status;
mod text;
pub mod watch;

use std::{env, io, num::NonZero, process::ExitCode, thread};

use tokio::runtime::{self, Runtime};

use crate::{
    client::Client,
    config::{Cli, Command, ConnectionConfig},
};

/// A failure without a gRPC status.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// Exit status after Ctrl-C, as in a shell: 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// Exit status after the reader of the output has gone, as in a shell: 128 + SIGPIPE.
const UNREAD: u8 = 141;

/// Most worker threads of a runtime. The vendor's quota keeps at most one busy. The others serve
/// bursts of calls, and updates to many watchers.
const MAX_WORKERS: usize = 4;

/// Reads the command line and the environment, and runs the command to its end.
pub fn run() -> ExitCode {
    let command = match Cli::read(env::args_os()) {
        Ok(cli) => cli.command,
        Err(error) => return output::usage(&error),
    };
    // An error means that a provider is already installed, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match command {
        // This runtime only waits for signals, since the server has its own. The others print at once.
        Command::Serve(_)
        | Command::SessionDigest(_)
        | Command::Completions(_)
        | Command::Man(_) => runtime::Builder::new_current_thread().enable_all().build(),
        Command::Simulate(_)
        | Command::Demo(_)
        | Command::Get(_)
        | Command::Sessions(_)
        | Command::Links(_)
        | Command::Watch(_)
        | Command::Health(_)
        | Command::Status(_)
        | Command::LogLevel(_)
        | Command::Login(_) => worker_runtime(None),
    };
    match runtime.map(|runtime| runtime.block_on(dispatch(command))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(status)) => ExitCode::from(status),
        Err(error) => ExitCode::from(output::fail(FAILED, &error)),
    }
}

/// A runtime with this many worker threads. By default it has one for each core that the process may
/// use, within the limits of its container too, up to [`MAX_WORKERS`].
fn worker_runtime(workers: Option<usize>) -> io::Result<Runtime> {
    let cores = || thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS);
    runtime::Builder::new_multi_thread()
        .worker_threads(workers.unwrap_or_else(cores))
        .thread_name("worker")
        .enable_all()
        .build()
}

/// Runs a command. `Err` is the exit status.
async fn dispatch(command: Command) -> Result<(), u8> {
    match command {
        Command::Serve(config) => serve::run(*config).await,
        Command::Simulate(config) => simulate::run(&config).await,
        Command::Demo(config) => demo::run(&config).await,
        Command::Get(config) => get::run(&config).await,
        Command::Sessions(config) => sessions::run(&config).await,
        Command::Links(config) => links::run(&config).await,
        Command::Watch(config) => watch::run(&config).await,
        Command::Health(config) => health::run(&config).await,
        Command::Status(config) => overview::run(&config).await,
        Command::LogLevel(config) => log_level::run(&config).await,
        Command::Login(config) => login::run(&config).await,
        Command::SessionDigest(config) => session_digest::run(&config),
        Command::Completions(config) => completions::run(&config),
        Command::Man(config) => man::run(&config),
    }
}

/// Creates a client of the service in the configuration.
fn client(config: &ConnectionConfig) -> Result<Client, u8> {
    Client::connect(config).map_err(|error| output::fail(USAGE, &error))
}
