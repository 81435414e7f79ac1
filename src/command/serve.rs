//! `serve`.
//!
//! The main thread only waits for signals and for the server, which has its own worker threads. So
//! a second signal and `--drain-grace` end the process even if all workers are stuck.

use std::{
    env,
    pin::pin,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    FAILED, USAGE, output,
    signal::{Hangups, Signals},
    worker_runtime,
};
use crate::{
    admin,
    config::{self, ServeConfig, Setting, Source, credentials::Mode},
    server::{Error, Server},
    telemetry::{self, LogLevel},
};

/// How long the process waits at its end until stderr takes the last log lines.
const STDERR_LIMIT: Duration = Duration::from_secs(1);

/// The same wait, after `--drain-grace` is over.
const LATE_STDERR_LIMIT: Duration = Duration::from_millis(50);

/// Serves until a signal, then drains. A second signal ends the process at once. `Err` is the exit
/// status.
pub async fn run(config: ServeConfig) -> Result<(), u8> {
    // This comes first, because SIGHUP ends the process until it is handled.
    let hangups = Hangups::new();
    report_problems(&config).await?;
    if config.check {
        report_unknown_variables()?;
        for warning in Server::warnings(&config) {
            output::note(&format_args!("warning: {warning}"));
        }
        return show();
    }
    let (log, level) = telemetry::install(&config.telemetry)
        .map_err(|error| output::fail(USAGE, &output::whole(&error)))?;
    let failed = |error| output::fail(FAILED, &error);
    let (mut signals, hangups) = (Signals::new().map_err(failed)?, hangups.map_err(failed)?);
    log_start(&config)?;
    for variable in config::unknown_variables() {
        warn!(variable.name, nearest = variable.nearest, "an environment variable is no setting");
    }
    let grace = config.limits.drain_grace;
    let workers = worker_runtime(config.workers).map_err(failed)?;
    let (drain, draining) = oneshot::channel();
    let (ended, serving) = oneshot::channel();
    workers.spawn(log.report_dropped());
    workers.spawn(async move {
        // After a second signal the process does not wait.
        let _ = ended.send(serve(config, level, draining, hangups).await);
    });

    let (ended, deadline) = supervise(serving, async || signals.next().await, drain, grace).await;
    let (result, error) = match ended {
        Ended::Server(Ok(())) => (Ok(()), None),
        Ended::Server(Err(error)) => (Err(status_of(&error)), Some(output::whole(&error))),
        Ended::Process(status) => (Err(status), None),
    };
    // This does not wait for the workers, because one of them may be stuck.
    workers.shutdown_background();
    let left = deadline.map_or(STDERR_LIMIT, |at| at.saturating_duration_since(Instant::now()));
    within(left.clamp(LATE_STDERR_LIMIT, STDERR_LIMIT), move || {
        drop(log);
        if let Some(error) = error {
            output::note(&format_args!("error: {error}"));
        }
    });
    result
}

/// What happened first.
enum Ended {
    /// The server ended, by itself or after a drain.
    Server(Result<(), Error>),
    /// The process must end with this status, whatever the server does.
    Process(u8),
}

/// Waits until the server ends, or until the process must end without it. Also returns the time at
/// which the process must have ended, if there is one.
async fn supervise(
    mut serving: oneshot::Receiver<Result<(), Error>>,
    mut next_signal: impl AsyncFnMut() -> u8,
    drain: oneshot::Sender<()>,
    grace: Duration,
) -> (Ended, Option<Instant>) {
    // A server that sends no result has panicked. The panic is already in the log.
    let ended = |result: Result<_, _>| result.map_or(Ended::Process(FAILED), Ended::Server);
    tokio::select! {
        result = &mut serving => return (ended(result), None),
        _ = next_signal() => {}
    }
    info!("draining; another signal ends it at once");
    drop(drain);
    let deadline = Instant::now() + grace;
    let ended = tokio::select! {
        result = &mut serving => ended(result),
        status = next_signal() => Ended::Process(status),
        () = sleep_until(deadline) => {
            error!("the server did not end within --drain-grace; ending the process");
            Ended::Process(FAILED)
        }
    };
    (ended, Some(deadline))
}

async fn serve(
    config: ServeConfig,
    level: LogLevel,
    draining: oneshot::Receiver<()>,
    mut hangups: Hangups,
) -> Result<(), Error> {
    let server = Server::bind(config).await?.with_log_level(Arc::new(level));
    let admin = server.admin_addr().map(tracing::field::display);
    let callback = server.callback_addr().map(tracing::field::display);
    info!(address = %server.local_address(), admin, callback, "serving");
    let reload = server.reload();
    let mut run = pin!(server.run(async { drop(draining.await) }));
    loop {
        tokio::select! {
            result = &mut run => return result,
            () = hangups.next() => {
                info!("SIGHUP: checking the certificates, the callers' tokens and the secrets");
                reload.ask();
            }
        }
    }
}

impl admin::log_level::LogLevel for LogLevel {
    fn configured(&self) -> String {
        self.configured().to_owned()
    }

    fn current(&self) -> String {
        self.current()
    }

    fn set(&self, level: &str) -> Result<(), String> {
        self.set(level).map_err(|error| error.to_string())
    }
}

/// Runs a task that may block for ever, and waits for it no longer than `limit`.
fn within(limit: Duration, task: impl FnOnce() + Send + 'static) {
    let (ended, end) = mpsc::channel::<()>();
    let thread = thread::Builder::new().spawn(move || {
        task();
        drop(ended);
    });
    if thread.is_ok() {
        let _ = end.recv_timeout(limit);
    }
}

/// Reports every problem of the configuration, including its files.
async fn report_problems(config: &ServeConfig) -> Result<(), u8> {
    let mut problems: Vec<_> =
        Server::problems(config).await.iter().map(|error| output::whole(error)).collect();
    problems.extend(telemetry::check(&config.telemetry).err().map(|error| error.to_string()));
    for problem in &problems {
        output::fail(USAGE, problem);
    }
    if problems.is_empty() { Ok(()) } else { Err(USAGE) }
}

/// Reports the variables that look like settings and are none. They prevent nothing: `serve` only
/// warns, so that an additional variable of a newer version does not stop an older one.
fn report_unknown_variables() -> Result<(), u8> {
    let unknown = config::unknown_variables();
    for variable in &unknown {
        output::fail(USAGE, variable);
    }
    if unknown.is_empty() { Ok(()) } else { Err(USAGE) }
}

/// Prints the effective configuration.
fn show() -> Result<(), u8> {
    let settings = effective()?;
    let lines: Vec<_> = settings.iter().map(ToString::to_string).collect();
    output::text(&lines.join("\n"))
}

fn effective() -> Result<Vec<Setting>, u8> {
    config::effective(env::args_os()).map_err(|error| output::fail(FAILED, &error))
}

/// Logs what the service is, and which flags differ from their defaults. The values may be secrets.
fn log_start(config: &ServeConfig) -> Result<(), u8> {
    let changed = effective()?.into_iter().filter(|setting| setting.source != Source::Default);
    let mut changed: Vec<_> = changed.map(|setting| setting.flag).collect();
    changed.dedup();
    let credentials = match config.credentials.mode {
        Mode::Caller => "caller",
        Mode::Service => "service",
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        credentials,
        tls = config.tls.tls_cert.is_some(),
        requests_per_second = config.upstream.rps,
        changed = changed.join(" "),
        "starting"
    );
    Ok(())
}

fn status_of(error: &Error) -> u8 {
    match error {
        Error::Config(_)
        | Error::CallerTokens(_)
        | Error::Fleet(_)
        | Error::CallbackSecrets(_)
        | Error::Read { .. }
        | Error::Tls(_)
        | Error::Trace(_)
        | Error::Upstream(_) => USAGE,
        Error::Listen { .. }
        | Error::Metrics(_)
        | Error::Reflection(_)
        | Error::AdminThread(_)
        | Error::Ended => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const GRACE: Duration = Duration::from_secs(25);

    /// When a process with a stuck server ends, and its exit status.
    async fn end_of_stuck_server(signals: usize) -> (u8, Duration) {
        let (_server, serving) = oneshot::channel();
        let (drain, draining) = oneshot::channel();
        let (start, mut left) = (Instant::now(), signals);
        let next_signal = async || {
            if left == 0 {
                pending::<()>().await;
            }
            left -= 1;
            143
        };
        let (ended, deadline) = supervise(serving, next_signal, drain, GRACE).await;
        assert!(draining.await.is_err(), "the server was asked to drain");
        assert_eq!(deadline, Some(start + GRACE));
        match ended {
            Ended::Process(status) => (status, start.elapsed()),
            Ended::Server(_) => panic!("it is stuck"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_stuck_does_not_outlive_the_grace_period() {
        assert_eq!(end_of_stuck_server(1).await, (FAILED, GRACE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_a_server_that_is_stuck_at_once() {
        assert_eq!(end_of_stuck_server(2).await, (143, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_by_itself_is_told() {
        let (server, serving) = oneshot::channel();
        let (drain, _draining) = oneshot::channel();
        server.send(Err(Error::Ended)).unwrap();
        let (ended, deadline) = supervise(serving, async || pending().await, drain, GRACE).await;
        assert!(matches!(ended, Ended::Server(Err(Error::Ended))));
        assert_eq!(deadline, None);
    }

    #[test]
    fn what_blocks_is_waited_for_no_longer_than_said() {
        let (_gate, closed) = mpsc::channel::<()>();
        let start = std::time::Instant::now();
        within(Duration::from_millis(50), move || {
            let _ = closed.recv();
        });
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
