//! `watch`.

use std::{future, time::Duration};

use tokio::time::sleep;

use super::{FAILED, USAGE, output, signal::Signals};
use crate::{
    client::{Client, Interruption, ResumingWatch, json::Printer},
    config::WatchConfig,
    proto::WatchSessionRequest,
};

/// The status of a watch that `--timeout` ended: `DEADLINE_EXCEEDED`.
const OUT_OF_TIME: u8 = 64 + 4;

/// Watches and prints each message; gives the exit status.
pub async fn run(config: &WatchConfig) -> u8 {
    let request = match request(config) {
        Ok(request) => request,
        Err(reason) => return output::fail(USAGE, &reason),
    };
    let client = match Client::connect(&config.connection) {
        Ok(client) => client,
        Err(error) => return output::fail(USAGE, &error),
    };
    let printer = match Printer::new() {
        Ok(printer) => printer,
        Err(error) => return output::fail(FAILED, &error),
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return output::fail(FAILED, &error),
    };
    let mut watch = client.watch(request).on_interruption(tell);
    if config.no_resume {
        watch = watch.without_resuming();
    }
    let status = tokio::select! {
        status = print(&mut watch, &printer) => status,
        status = signals.next() => status,
        () = limit(config.timeout) => output::fail(OUT_OF_TIME, &"the time is over"),
    };
    if status != 0 && !watch.resume_token().is_empty() {
        output::note(&format_args!("to go on: --resume-token {}", watch.resume_token()));
    }
    status
}

async fn print(watch: &mut ResumingWatch, printer: &Printer) -> u8 {
    while let Some(next) = watch.next().await {
        match next {
            Ok(message) => {
                if let Err(status) = output::message(printer, &message) {
                    return status;
                }
            }
            Err(failure) => return output::failure(&failure),
        }
    }
    0
}

fn tell(interruption: &Interruption) {
    let Interruption { failure, delay, .. } = interruption;
    // Milliseconds are enough for a reader.
    let delay = Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    let delay = humantime::format_duration(delay);
    output::note(&format_args!("interrupted: {failure}; resuming in {delay}"));
}

async fn limit(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => future::pending().await,
    }
}

fn request(config: &WatchConfig) -> Result<WatchSessionRequest, String> {
    Ok(WatchSessionRequest {
        session_id: config.session_id.clone(),
        resume_token: config.resume_token.clone().unwrap_or_default(),
        heartbeat_interval: duration(config.heartbeat)?,
        follow_after_end: duration(config.follow_after_end)?,
    })
}

fn duration(duration: Option<Duration>) -> Result<Option<prost_types::Duration>, String> {
    duration
        .map(|duration| duration.try_into().map_err(|_| "a duration is too long".to_owned()))
        .transpose()
}
