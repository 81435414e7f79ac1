//! The board of the demo: all sessions of the account on one stream.

use std::{collections::HashSet, time::Duration};

use tokio::time::timeout;

use super::{
    super::{
        FAILED, output,
        watch::{Display, FollowUp, many, since},
    },
    screen,
};
use crate::{
    client::{Client, WatchMany},
    proto::watch_sessions_response::Body,
    simulator::{Control, InvalidScript, SessionScript},
};

/// The sessions that begin with the board.
const IDS: [&str; 3] = ["SS-DESK-1", "SS-DESK-2", "SS-DESK-3"];

/// The longest time until they are over.
const LIMIT: Duration = Duration::from_mins(2);

/// Shows all sessions until those of the desk are over. `Err` is the exit status.
pub async fn run(client: &Client, control: &Control) -> Result<(), u8> {
    screen::head("WatchSessions", "every session of the account, on one stream")?;
    put(control).map_err(|error| output::fail(FAILED, &error))?;
    let watch = WatchMany { all: Some(since(Duration::ZERO)), ..WatchMany::default() };
    let mut left = HashSet::from(IDS);
    let mut display = Display::text();
    let mut follow_up = FollowUp::default();
    let shown = many::watch(client, watch, true, &mut display, &mut follow_up, |message| {
        if let Some(Body::Ended(_)) = message.body {
            left.remove(message.session_id.as_str());
        }
        left.is_empty()
    });
    match timeout(LIMIT, shown).await {
        Ok(shown) => shown,
        Err(_) => Err(output::fail(FAILED, &"the sessions of the desk did not end")),
    }
}

fn put(control: &Control) -> Result<(), InvalidScript> {
    let [helped, quick, left_alone] = IDS;
    let waiting = |id| SessionScript::new(id).step(0.0, "waiting");
    for script in [
        waiting(helped).step(6.0, "active").step(11.0, "complete"),
        waiting(quick).step(7.0, "active").step(9.0, "complete"),
        waiting(left_alone).step(10.0, "abandoned"),
    ] {
        control.put_session(script)?;
    }
    Ok(())
}
