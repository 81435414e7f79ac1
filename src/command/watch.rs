//! `watch`.

mod display;
mod follow_up;
pub mod many;

use std::{future, time::Duration};

use tokio::time::sleep;

use super::{FAILED, USAGE, client, output, signal::Signals};
use crate::{
    client::{Client, Interruption, ResumingWatch, WatchMany, failure},
    clock::Clock,
    config::{OutputFormat, WatchConfig},
    proto::{
        AllSessions, WatchSessionRequest, WatchSessionsResponse, watch_sessions_response::Body,
    },
};
pub use display::Display;
pub use follow_up::FollowUp;

/// The gRPC status of a watch that `--timeout` ended: `DEADLINE_EXCEEDED`.
const OUT_OF_TIME: u8 = 64 + 4;

/// Watches sessions and prints each message. `Err` is the exit status.
pub async fn run(config: &WatchConfig) -> Result<(), u8> {
    let usage = |reason| output::fail(USAGE, &reason);
    let mut follow_up = FollowUp::new(config)?;
    let mut sessions = requests(config, &follow_up).map_err(usage)?;
    let heartbeat_interval = duration(config.heartbeat).map_err(usage)?;
    let client = client(&config.connection)?;
    let mut signals = Signals::new().map_err(|error| output::fail(FAILED, &error))?;
    let until_stopped = async move {
        tokio::select! {
            status = signals.next() => status,
            () = limit(config.timeout) => output::fail(OUT_OF_TIME, &"the time is over"),
        }
    };
    if !config.all
        && sessions.len() == 1
        && let Some(session) = sessions.pop()
    {
        return watch_one(config, &client, session, &mut follow_up, until_stopped).await;
    }
    let all = config.all.then(|| since(config.from.unwrap_or_default()));
    let watch = WatchMany { sessions, all, heartbeat_interval };
    let mut display = Display::new(config.output);
    tokio::select! {
        result = many::watch(
            &client, watch, !config.no_resume, &mut display, &mut follow_up, |_| false,
        ) => result,
        status = until_stopped => Err(status),
    }
}

async fn watch_one(
    config: &WatchConfig,
    client: &Client,
    session: WatchSessionRequest,
    follow_up: &mut FollowUp,
    until_stopped: impl Future<Output = u8>,
) -> Result<(), u8> {
    let tell = |interrupted: &Interruption| output::note(&interruption(interrupted));
    let mut watch = client.watch(session).on_interruption(tell);
    if config.no_resume {
        watch = watch.without_resuming();
    }
    let result = tokio::select! {
        result = print(&mut watch, config, follow_up) => result,
        status = until_stopped => Err(status),
    };
    // A token that the user gave may be the reason for the failure.
    let is_given = config.resume_token.as_deref() == Some(watch.resume_token());
    let is_kept = follow_up.has_state_file();
    if result.is_err() && !watch.resume_token().is_empty() && !is_given && !is_kept {
        output::note(&format_args!("to go on: --resume-token {}", watch.resume_token()));
    }
    result
}

/// Prints the messages of one session. A terminal shows all of them, one after the other.
async fn print(
    watch: &mut ResumingWatch,
    config: &WatchConfig,
    follow_up: &mut FollowUp,
) -> Result<(), u8> {
    let is_json = output::format(config.output) == OutputFormat::Json;
    let session_id = config.session_ids.first().cloned().unwrap_or_default();
    while let Some(next) = watch.next().await {
        let message = next.map_err(|failure| output::failure(&failure))?;
        if is_json {
            output::message("gotoassist.remotesupport.v1.WatchSessionResponse", &message)?;
        }
        let (session_id, body) = (session_id.clone(), Some(Body::Update(message)));
        let message = WatchSessionsResponse { session_id, body };
        if !is_json {
            Display::Lines.show(&message)?;
        }
        follow_up.after(&message).await?;
    }
    Ok(())
}

/// What happened to a stream or a session, and when it goes on.
fn interruption(interruption: &Interruption) -> String {
    let Interruption { failure, delay, .. } = interruption;
    format!("interrupted: {failure}; resuming in {}", failure::rounded(*delay))
}

async fn limit(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => future::pending().await,
    }
}

/// All sessions that were open this long ago, or are since.
pub fn since(ago: Duration) -> AllSessions {
    let now = Clock::system().now();
    let from_time = now.saturating_sub(ago).unwrap_or(now);
    let (seconds, nanos) = (from_time.as_second(), from_time.subsec_nanosecond());
    AllSessions { from_time: Some(prost_types::Timestamp { seconds, nanos }) }
}

fn requests(
    config: &WatchConfig,
    follow_up: &FollowUp,
) -> Result<Vec<WatchSessionRequest>, String> {
    if config.resume_token.is_some() && config.session_ids.len() != 1 {
        return Err("--resume-token belongs to one session".to_owned());
    }
    let request = |session_id: &String| {
        Ok(WatchSessionRequest {
            session_id: session_id.clone(),
            resume_token: config
                .resume_token
                .clone()
                .or_else(|| follow_up.resume_token(session_id))
                .unwrap_or_default(),
            heartbeat_interval: duration(config.heartbeat)?,
            follow_after_end: duration(config.follow_after_end)?,
        })
    };
    config.session_ids.iter().map(request).collect()
}

fn duration(duration: Option<Duration>) -> Result<Option<prost_types::Duration>, String> {
    duration
        .map(|duration| duration.try_into().map_err(|_| "a duration is too long".to_owned()))
        .transpose()
}
