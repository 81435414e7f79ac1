//! `watch`.

use std::{future, time::Duration};

use tokio::time::sleep;

use super::{FAILED, USAGE, client, output, signal::Signals};
use crate::{
    client::{Interruption, ResumingWatch},
    config::WatchConfig,
    proto::WatchSessionRequest,
};

/// The gRPC status of a watch that `--timeout` ended: `DEADLINE_EXCEEDED`.
const OUT_OF_TIME: u8 = 64 + 4;

/// Watches a session and prints each message. `Err` is the exit status.
pub async fn run(config: &WatchConfig) -> Result<(), u8> {
    let request = request(config).map_err(|reason| output::fail(USAGE, &reason))?;
    let client = client(&config.connection)?;
    let mut signals = Signals::new().map_err(|error| output::fail(FAILED, &error))?;
    let mut watch = client.watch(request).on_interruption(tell);
    if config.no_resume {
        watch = watch.without_resuming();
    }
    let result = tokio::select! {
        result = print(&mut watch) => result,
        status = signals.next() => Err(status),
        () = limit(config.timeout) => Err(output::fail(OUT_OF_TIME, &"the time is over")),
    };
    if result.is_err() && !watch.resume_token().is_empty() {
        output::note(&format_args!("to go on: --resume-token {}", watch.resume_token()));
    }
    result
}

async fn print(watch: &mut ResumingWatch) -> Result<(), u8> {
    while let Some(next) = watch.next().await {
        let message = next.map_err(|failure| output::failure(&failure))?;
        output::message("gotoassist.remotesupport.v1.WatchSessionResponse", &message)?;
    }
    Ok(())
}

fn tell(interruption: &Interruption) {
    let Interruption { failure, delay, .. } = interruption;
    // Milliseconds are precise enough for a reader.
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
