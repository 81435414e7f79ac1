//! The session of the demo, whose life repeats.

use std::time::Duration;

use tokio::time::sleep;

use crate::simulator::{Control, InvalidScript, SessionScript};

/// Its id.
pub const ID: &str = "SS-DEMO";
/// How long to watch after the session's end. The notes and the recording arrive in this time.
pub const AFTER_END: Duration = Duration::from_secs(5);

/// Time between two starts of the session's life.
const PERIOD: Duration = Duration::from_secs(24);

/// Adds the session. Its life begins now.
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

/// Restarts the session's life whenever it is over, so that the printed commands always find the
/// session. Returns only if there is an error.
pub async fn renew(control: &Control) -> InvalidScript {
    loop {
        if let Err(error) = put(control) {
            return error;
        }
        sleep(PERIOD).await;
    }
}
