//! `watch` of many sessions.

use tokio::sync::mpsc::unbounded_channel;

use super::{Display, FollowUp, interruption};
use crate::{
    client::{Client, Failure, WatchMany},
    command::output,
    proto::{WatchSessionsResponse, watch_sessions_response::Body},
};

/// Watches the sessions, and shows each message until `is_enough` says so or the last one has ended.
/// `Err` is the exit status: that of the first session that cannot be watched.
pub async fn watch(
    client: &Client,
    watch: WatchMany,
    is_resuming: bool,
    display: &mut Display,
    follow_up: &mut FollowUp,
    mut is_enough: impl FnMut(&WatchSessionsResponse) -> bool,
) -> Result<(), u8> {
    let (interruptions, mut interrupted) = unbounded_channel();
    let mut watches = client.watch_many(watch).on_interruption(move |why| {
        // The receiver lives as long as the watch.
        let _ = interruptions.send(interruption(why));
    });
    if !is_resuming {
        watches = watches.without_resuming();
    }
    let mut status = Ok(());
    loop {
        tokio::select! {
            next = watches.next() => {
                let Some(next) = next else { break };
                let message = next.map_err(|failure| end(display, &failure))?;
                display.show(&message)?;
                follow_up.after(&message).await?;
                if let Some(failure) = failed(&message) {
                    let exit_status = output::status(&failure);
                    status = status.and(Err(exit_status));
                }
                if is_enough(&message) {
                    break;
                }
            }
            Some(note) = interrupted.recv() => display.note(note),
            () = display.due() => display.draw()?,
        }
    }
    display.draw()?;
    status
}

/// The failure that has ended a session.
fn failed(message: &WatchSessionsResponse) -> Option<Failure> {
    match &message.body {
        Some(Body::Ended(status)) if status.code != 0 => Some(Failure::from(status)),
        Some(Body::Ended(_) | Body::Update(_) | Body::Heartbeat(_)) | None => None,
    }
}

fn end(display: &mut Display, failure: &Failure) -> u8 {
    // Below the board.
    match display.draw() {
        Ok(()) => output::failure(failure),
        Err(status) => status,
    }
}
