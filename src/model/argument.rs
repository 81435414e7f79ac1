//! The rules for arguments of a call to the vendor.

/// The longest argument, in bytes.
pub const ARGUMENT_LIMIT: usize = 512;

/// Why a text cannot be an argument of a call to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArgument {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text has more than [`ARGUMENT_LIMIT`] bytes.
    #[error("must not be longer than {ARGUMENT_LIMIT} bytes")]
    TooLong,
    /// The text has a control character, such as a line break.
    #[error("must not hold control characters")]
    ControlCharacter,
    /// The text is `.` or `..`, which would change the path even if it were percent-encoded
    /// (RFC 3986 §5.2.4).
    #[error("must not be `.` or `..`")]
    DotSegment,
}

pub(super) fn check_argument(text: &str) -> Result<(), InvalidArgument> {
    match text {
        "" => Err(InvalidArgument::Empty),
        "." | ".." => Err(InvalidArgument::DotSegment),
        text if text.len() > ARGUMENT_LIMIT => Err(InvalidArgument::TooLong),
        text if text.chars().any(char::is_control) => Err(InvalidArgument::ControlCharacter),
        _ => Ok(()),
    }
}
