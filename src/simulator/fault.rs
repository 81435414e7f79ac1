//! What can go wrong on purpose.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::builtin::STRANGER_ID;
use crate::config::simulate::{ErrorBody, Shape};

/// One way of answering that is not the right one. docs/simulator.md tells what each looks like on
/// the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Fault {
    /// None: the right answer, for a rule that only delays.
    #[default]
    Right,
    /// The right answer, but the one of some time ago.
    Stale {
        /// Its age in seconds.
        seconds: f64,
    },
    /// The right answer in another shape.
    Shape(Shape),
    /// 200 with the body of another session, as a cache gives it that mixes its entries up.
    ForeignSession {
        /// The id of that session.
        #[serde(default = "stranger")]
        id: String,
    },
    /// 200 with `sessionId` and `status` of the right body, and nothing else.
    HalfSession,
    /// 200 with `sessionId` of the right body, and nothing else.
    HollowSession,
    /// 200 with a JSON object that only holds a message.
    Maintenance {
        /// The message.
        #[serde(default = "maintenance")]
        message: String,
    },
    /// 200 with `{}`.
    EmptyObject,
    /// 200 with `null`.
    Null,
    /// 200 with the JSON object of an error.
    ErrorObject {
        /// The form of the object: any but `html` and `empty`.
        #[serde(default = "gateway")]
        body: ErrorBody,
        /// The error code in it.
        #[serde(default = "invalid_token")]
        code: String,
    },
    /// No answer at all, while the connection stays open.
    Hang,
    /// Another status.
    Status {
        /// The HTTP status.
        status: u16,
        /// The form of the body.
        #[serde(default)]
        body: ErrorBody,
        /// The error code in the body [default: one that suits the status].
        #[serde(default)]
        code: Option<String>,
        /// The reason phrase [default: the standard one].
        #[serde(default)]
        reason: Option<String>,
        /// The value of Retry-After.
        #[serde(default)]
        retry_after: Option<RetryAfter>,
        /// The same as an HTTP date this many seconds from now.
        #[serde(default)]
        retry_after_date: Option<i64>,
    },
    /// To another place.
    Redirect {
        /// The HTTP status.
        #[serde(default = "found")]
        status: u16,
        /// The value of Location.
        #[serde(default = "elsewhere")]
        location: String,
    },
    /// 204 without a body.
    NoContent,
    /// 200 with an empty body.
    EmptyBody,
    /// 200 with an HTML page.
    Html,
    /// 200 with any body.
    Body {
        /// The body.
        text: String,
        /// Its type.
        #[serde(default = "json")]
        content_type: String,
    },
    /// 200 with JSON that breaks off, its length being right.
    BadJson,
    /// The right body with `status` and `accountKey` in it twice, the second time with other
    /// values.
    DuplicateKeys,
    /// The right body with an additional field of arrays within arrays.
    DeepNesting {
        /// How many.
        #[serde(default = "depth")]
        depth: usize,
    },
    /// The right body with many additional fields: arrays of small numbers.
    ManyUnknownFields {
        /// How long they are together.
        #[serde(default = "under_a_mebibyte")]
        bytes: usize,
    },
    /// The right body behind a byte order mark.
    ByteOrderMark,
    /// The right body with bytes in a text that are no UTF-8.
    InvalidUtf8,
    /// The right body with an additional field that makes it long.
    Oversized {
        /// How long that field is.
        #[serde(default = "over_a_mebibyte")]
        bytes: usize,
    },
    /// The same, compressed with gzip to next to nothing.
    GzipBomb {
        /// How long that field is once unpacked.
        #[serde(default = "four_mebibytes")]
        bytes: usize,
    },
    /// Half of the body that Content-Length announces, then the connection's end.
    HalfBody,
    /// Half of the body in chunks, then the connection's end without the last chunk.
    HalfChunk,
    /// The connection is reset (TCP RST) before any byte.
    Reset,
    /// The connection is reset (TCP RST) after half of the body.
    ResetHalfway,
    /// The connection ends in order (TCP FIN) before any byte.
    Close,
    /// Header fields without end.
    EndlessHeaders,
    /// The right answer, one byte at a time.
    Trickle {
        /// Seconds between two bytes.
        #[serde(default = "second")]
        seconds: f64,
    },
    /// The right answer as HTTP/1.0: no length, the connection's end is the body's.
    Http10,
    /// Interim answers before the right one.
    Informational {
        /// Their status: 100, 102 or 103.
        #[serde(default = "early_hints")]
        status: u16,
        /// How many.
        #[serde(default = "once")]
        times: usize,
    },
    /// Bytes that are no HTTP.
    Garbage,
    /// The right body with other values in it.
    Fields {
        /// The fields that differ, or come on top.
        fields: Map<String, Value>,
    },
}

impl Fault {
    /// Another status, with the body of sibling products.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            body: ErrorBody::default(),
            code: None,
            reason: None,
            retry_after: None,
            retry_after_date: None,
        }
    }

    /// Another status, with Retry-After in seconds.
    pub fn status_with_retry_after(status: u16, seconds: u64) -> Self {
        let mut fault = Self::status(status);
        if let Self::Status { retry_after, .. } = &mut fault {
            *retry_after = Some(RetryAfter::Seconds(seconds));
        }
        fault
    }

    /// The shape that it gives the right answer.
    pub(super) fn shape(&self) -> Shape {
        if let Fault::Shape(shape) = *self { shape } else { Shape::default() }
    }

    /// Whether what goes out is the right answer, or that of another session or time.
    pub(super) fn is_answer(&self) -> bool {
        matches!(
            self,
            Fault::Right | Fault::Stale { .. } | Fault::Shape(_) | Fault::ForeignSession { .. }
        )
    }

    /// Whether its status is one that HTTP knows and that can be sent, and its error object an
    /// object.
    pub(super) fn is_playable(&self) -> bool {
        if let Fault::Status { status, .. } = *self {
            (200..=999).contains(&status)
        } else if let Fault::Redirect { status, .. } = *self {
            (300..400).contains(&status)
        } else if let Fault::Informational { status, .. } = *self {
            matches!(status, 100 | 102..=199)
        } else if let Fault::ErrorObject { body, .. } = *self {
            !matches!(body, ErrorBody::Html | ErrorBody::Empty)
        } else {
            true
        }
    }
}

/// A value of Retry-After.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// In seconds.
    Seconds(u64),
    /// As it stands.
    Text(String),
}

fn found() -> u16 {
    302
}

fn elsewhere() -> String {
    "https://elsewhere.example/".into()
}

fn json() -> String {
    "application/json".into()
}

fn stranger() -> String {
    STRANGER_ID.into()
}

fn maintenance() -> String {
    "Service is under maintenance".into()
}

fn gateway() -> ErrorBody {
    ErrorBody::Gateway
}

fn invalid_token() -> String {
    "InvalidToken".into()
}

fn under_a_mebibyte() -> usize {
    1_000_000
}

fn depth() -> usize {
    10_000
}

fn over_a_mebibyte() -> usize {
    (1 << 20) + 1
}

fn four_mebibytes() -> usize {
    4 << 20
}

fn second() -> f64 {
    1.0
}

fn early_hints() -> u16 {
    103
}

fn once() -> usize {
    1
}
