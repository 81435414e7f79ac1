//! Makes the three calls about one session, from notStarted to complete, as any client could.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    super::{FAILED, output, status},
    SYSTEM_DOMAIN, screen, session,
};
use crate::{
    client::Client,
    proto::{
        Session, SessionStatus, StatusTransition, WatchSessionRequest, WatchSessionResponse,
        watch_session_response::EventType,
    },
};

/// Deadlines of a unary call, and of the whole watch.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const WATCH_TIMEOUT: Duration = Duration::from_mins(2);

/// The statuses that the demo must have seen.
const LIFE: [SessionStatus; 4] = [
    SessionStatus::NotStarted,
    SessionStatus::Waiting,
    SessionStatus::Active,
    SessionStatus::Complete,
];

/// The longest time after which a change counts as brought by its callback. Polls are ten seconds
/// apart.
const BY_CALLBACK: Duration = Duration::from_millis(500);

/// Makes the calls and prints the results. The session's life began at `born`. `Err` is the exit
/// status.
pub async fn run(client: &Client, born: Instant) -> Result<(), u8> {
    get(client).await?;
    list(client).await?;
    match timeout(WATCH_TIMEOUT, watch(client, born)).await {
        Ok(Ok(seen)) if seen == LIFE => Ok(()),
        Ok(Ok(_)) => Err(output::fail(FAILED, &"the watch did not show the session's whole life")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(output::fail(FAILED, &"the watch did not end")),
    }
}

async fn get(client: &Client) -> Result<(), u8> {
    screen::head("GetSession", session::ID)?;
    let answer = client.get_session(session::ID, CALL_TIMEOUT).await;
    let answer = answer.map_err(|failure| output::failure(&failure))?;
    let session = answer.session.unwrap_or_default();
    for (name, value) in [
        ("sessionId", session.session_id.as_str()),
        ("status", session.status().as_str_name()),
        ("accountKey", &session.account_key),
        ("expertName", session.expert_name()),
        ("customerName", session.customer_name()),
        ("partnerObject", session.partner_object()),
    ] {
        if !value.is_empty() {
            screen::pair(name, value)?;
        }
    }
    Ok(())
}

async fn list(client: &Client) -> Result<(), u8> {
    screen::head("ListSystemLinks", SYSTEM_DOMAIN)?;
    let answer = client.list_system_links(SYSTEM_DOMAIN, CALL_TIMEOUT).await;
    let answer = answer.map_err(|failure| output::failure(&failure))?;
    answer
        .system_links
        .iter()
        .try_for_each(|link| screen::pair(&link.system_name, &link.callback_url))
}

/// The statuses that the watch showed, without repeats.
async fn watch(client: &Client, born: Instant) -> Result<Vec<SessionStatus>, u8> {
    screen::head("WatchSession", session::ID)?;
    let start = Instant::now();
    let mut watch = client.watch(WatchSessionRequest {
        session_id: session::ID.to_owned(),
        follow_after_end: session::AFTER_END.try_into().ok(),
        ..WatchSessionRequest::default()
    });
    let mut seen = Vec::new();
    while let Some(message) = watch.next().await {
        let message = message.map_err(|failure| output::failure(&failure))?;
        if seen.is_empty() {
            seen.extend(message.session.as_ref().map(Session::status));
        }
        seen.extend(message.transitions.iter().map(StatusTransition::to_status));
        let event = screen::event_name(message.event_type());
        let (what, mut more) = describe(&message);
        let status = message.transitions.last().map(StatusTransition::to_status);
        let age = status.and_then(|status| session::age_of_callback(status, born));
        if let Some(age) = age.filter(|age| *age <= BY_CALLBACK) {
            more = format!("by callback, after {} ms: {more}", age.as_millis());
        }
        screen::event(start.elapsed(), event, &what, &more)?;
    }
    screen::event(start.elapsed(), "OK", "", "the last message was terminal")?;
    Ok(seen)
}

/// The text of a message, and its details.
fn describe(message: &WatchSessionResponse) -> (String, String) {
    let session = message.session.clone().unwrap_or_default();
    let paths: Vec<_> = message.changed_fields.iter().flat_map(|mask| &mask.paths).collect();
    match message.event_type() {
        EventType::Snapshot => (status::name(session.status()), String::new()),
        EventType::Changed if message.transitions.is_empty() => {
            // Updates after the session's end have their own text.
            let late = [
                ("notes", session.notes()),
                ("session_recording_url", session.session_recording_url()),
            ];
            let changed = late.into_iter().find(|(name, _)| paths.iter().any(|path| path == name));
            changed.map_or_else(
                || (String::new(), fields(&paths)),
                |(name, text)| {
                    (
                        name.trim_start_matches("session_").trim_end_matches("_url").to_owned(),
                        text.to_owned(),
                    )
                },
            )
        }
        EventType::Changed => {
            let steps: Vec<_> = message.transitions.iter().map(status::transition).collect();
            (steps.join(", "), fields(&paths))
        }
        EventType::Heartbeat => (String::new(), "nothing changed".to_owned()),
        EventType::Stale => (String::new(), "the vendor does not answer".to_owned()),
        EventType::Unspecified => (String::new(), String::new()),
    }
}

/// The changed fields without the status, because the transition already shows it.
fn fields(paths: &[&String]) -> String {
    let others = paths.iter().filter(|path| !matches!(path.as_str(), "status" | "upstream_status"));
    others.map(|path| path.as_str()).collect::<Vec<_>>().join(", ")
}
