//! The session that the demo shows, and how it lives again and again.

use std::time::Duration;

use tokio::time::sleep;

use crate::simulator::{Control, InvalidScript, SessionScript};

/// Its id.
pub const ID: &str = "SS-DEMO";
/// How long to watch after the end: notes and recording come in this time.
pub const AFTER_END: Duration = Duration::from_secs(5);

/// From one beginning to the next.
const PERIOD: Duration = Duration::from_secs(24);

/// Puts the session, whose life begins now.
pub fn put(control: &Control) -> Result<(), InvalidScript> {
    control.put_session(
        SessionScript::new(ID)
            .step(0.0, "notStarted")
            .step(3.0, "waiting")
            .step(7.0, "active")
            .step(12.0, "complete")
            .later(13.5, "notes", "Replaced the printer driver.")
            .later(15.0, "sessionRecordingUrl", "https://recordings.example.com/SS-DEMO")
            .field("partnerObject", "TICKET-4711"),
    )
}

/// Lets it live again whenever it is over, so that a printed command always finds it. Returns only
/// what went wrong.
pub async fn renew(control: &Control) -> InvalidScript {
    loop {
        if let Err(error) = put(control) {
            return error;
        }
        sleep(PERIOD).await;
    }
}
