//! The session of the demo, whose life repeats.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    proto::SessionStatus,
    simulator::{Control, InvalidScript, SessionScript},
};

/// Its id.
pub const ID: &str = "SS-DEMO";
const TICKET: &str = "TICKET-4711";
/// How long to watch after the session's end. The notes and the recording arrive in this time.
pub const AFTER_END: Duration = Duration::from_secs(5);

/// Time between two starts of the session's life.
const PERIOD: Duration = Duration::from_secs(24);

/// When the customer joins and when the session ends, in seconds since its life began. The vendor
/// calls back at these times.
const JOINED: f64 = 7.0;
const ENDED: f64 = 12.0;

/// Returns how long ago the session got this status, if the vendor called back then. `born` is when
/// its life began.
pub fn age_of_callback(status: SessionStatus, born: Instant) -> Option<Duration> {
    let called_back_at = match status {
        SessionStatus::Active => JOINED,
        SessionStatus::Complete => ENDED,
        SessionStatus::Unspecified
        | SessionStatus::NotStarted
        | SessionStatus::Waiting
        | SessionStatus::Abandoned => return None,
    };
    Some(born.elapsed().saturating_sub(Duration::from_secs_f64(called_back_at)))
}

/// Adds the session. Its life begins now. Returns the time.
pub fn put(control: &Control) -> Result<Instant, InvalidScript> {
    let born = Instant::now();
    control.put_session(
        SessionScript::new(ID)
            .step(0.0, "notStarted")
            .step(3.0, "waiting")
            .step(JOINED, "active")
            .step(ENDED, "complete")
            .later(13.5, "notes", "Replaced the printer driver.")
            .later(15.0, "sessionRecordingUrl", "https://recordings.example.com/SS-DEMO")
            .field("partnerObject", TICKET),
    )?;
    Ok(born)
}

/// Adds the session before its life begins.
pub fn rest(control: &Control) -> Result<(), InvalidScript> {
    control.put_session(SessionScript::resting(ID, "notStarted").field("partnerObject", TICKET))
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
