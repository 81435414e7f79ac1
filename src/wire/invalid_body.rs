//! Why the body of an answer cannot be used.

use crate::model::Rejection;

/// Why the body of an answer cannot be used. Holds nothing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBody {
    /// There is no body.
    #[error("the body is empty")]
    Empty,
    /// The body is longer than the limit.
    #[error("the body is longer than 1 MiB")]
    TooLong,
    /// The bytes are not text.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// The text is not JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// The JSON has another structure, such as an array where an object is expected.
    #[error("the body is JSON of another shape")]
    WrongShape,
    /// The body cannot be decompressed.
    #[error("the body is not encoded as its content-encoding says")]
    BadEncoding,
    /// The vendor sent an error object with a status of success.
    #[error("the body is an error object")]
    ErrorObject,
    /// The session in the body is not the one that was asked for.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The bytes are not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
}
