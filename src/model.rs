//! What both faces speak of: sessions, links, the order of statuses, what changed. Pure: no I/O,
//! no serde, no prost, no clock.

pub mod change;
pub mod field;
pub mod history;
pub mod known;
pub mod session;
pub mod status;
pub mod system_link;
pub mod time;
pub mod transition;
pub mod validator;
pub mod value;

pub use change::Digest;
pub use field::FieldSet;
pub use history::History;
pub use known::Known;
pub use session::{Collaborator, Session, SessionId};
pub use status::Status;
pub use system_link::{SystemDomain, SystemLink};
pub use time::UtcTime;
pub use transition::{Progress, Transition};
pub use validator::{Absence, Baseline, Identity, Rejection, Validation, Validator};
pub use value::{Fields, Value};

/// Longest argument of a call, in bytes.
pub const ARGUMENT_LIMIT: usize = 512;

/// Why a text cannot be an argument of a call to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArgument {
    /// There is no text.
    #[error("must not be empty")]
    Empty,
    /// More than [`ARGUMENT_LIMIT`] bytes.
    #[error("must not be longer than {ARGUMENT_LIMIT} bytes")]
    TooLong,
    /// A control character, such as a line break.
    #[error("must not hold control characters")]
    ControlCharacter,
    /// `.` or `..`, which no percent-encoding can keep from meaning another path (RFC 3986 §5.2.4).
    #[error("must not be `.` or `..`")]
    DotSegment,
}

fn check_argument(text: &str) -> Result<(), InvalidArgument> {
    if text.is_empty() {
        Err(InvalidArgument::Empty)
    } else if text.len() > ARGUMENT_LIMIT {
        Err(InvalidArgument::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(InvalidArgument::ControlCharacter)
    } else if matches!(text, "." | "..") {
        Err(InvalidArgument::DotSegment)
    } else {
        Ok(())
    }
}
