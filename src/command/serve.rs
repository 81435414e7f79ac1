//! `serve`.

use std::env;

use tokio::{pin, sync::oneshot};

use super::{FAILED, USAGE, output, signal::Signals};
use crate::{
    config::{self, Fault, ServeConfig},
    server::{Error, Server},
    telemetry,
};

/// Serves until a signal, then drains; a second signal ends it at once. Gives the exit status.
pub async fn run(config: ServeConfig) -> u8 {
    if tell_problems(&config, &[]).await {
        return USAGE;
    }
    if config.check {
        return show();
    }
    let _log = match telemetry::install(&config.telemetry) {
        Ok(log) => log,
        Err(error) => return output::fail(USAGE, &output::whole(&error)),
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return output::fail(FAILED, &error),
    };
    let server = match Server::bind(config).await {
        Ok(server) => server,
        Err(error) => return fail(&error),
    };
    let admin = server.admin_addr().map(tracing::field::display);
    tracing::info!(address = %server.local_address(), admin, "serving");

    let (drain, draining) = oneshot::channel::<()>();
    let running = server.run(async { drop(draining.await) });
    pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended,
        _ = signals.next() => {
            tracing::info!("draining; another signal ends it at once");
            drop(drain);
            tokio::select! {
                ended = &mut running => ended,
                status = signals.next() => return status,
            }
        }
    };
    match ended {
        Ok(()) => 0,
        Err(error) => fail(&error),
    }
}

/// Tells everything that is wrong with the configuration, files included; whether there is anything.
/// What is about a flag that could not be read is left out: it has been told, and the default that
/// stands in for it is nobody's mistake.
pub(super) async fn tell_problems(config: &ServeConfig, faults: &[Fault]) -> bool {
    let mut problems: Vec<_> =
        Server::problems(config).await.iter().map(|error| output::whole(error)).collect();
    problems.extend(telemetry::check(&config.telemetry).err().map(|error| output::whole(&error)));
    let is_named = |problem: &str, flag: &str| {
        problem.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).any(|word| word == flag)
    };
    let flags: Vec<_> = faults.iter().filter_map(|fault| fault.flag.as_deref()).collect();
    problems.retain(|problem| !flags.iter().any(|flag| is_named(problem, flag)));
    for problem in &problems {
        output::fail(USAGE, problem);
    }
    !problems.is_empty()
}

/// Prints the configuration in effect.
fn show() -> u8 {
    let lines = match config::effective(env::args_os()) {
        Ok(lines) => lines,
        Err(error) => return output::fail(FAILED, &error),
    };
    match output::text(&lines.join("\n")) {
        Ok(()) => 0,
        Err(status) => status,
    }
}

fn fail(error: &Error) -> u8 {
    let status = match error {
        Error::Config(_)
        | Error::CallerTokens(_)
        | Error::Read { .. }
        | Error::Tls(_)
        | Error::Trace(_)
        | Error::Upstream(_) => USAGE,
        Error::Listen { .. }
        | Error::Metrics(_)
        | Error::Reflection(_)
        | Error::Workers(_)
        | Error::Ended => FAILED,
    };
    output::fail(status, &output::whole(error))
}
