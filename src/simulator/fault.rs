//! The list of all faults. The flags and the control API read a fault in this form.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::builtin::FOREIGN_ID;
use crate::config::simulate::{ErrorBody, Shape};

/// One way to answer a request. docs/simulator.md shows what each looks like on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Fault {
    /// The right answer, for a rule that only delays.
    #[default]
    Right,
    /// The right answer of some time ago.
    Stale {
        /// Its age in seconds.
        seconds: f64,
    },
    /// The right answer in another shape.
    Shape(Shape),
    /// 200 with the body of another session, as from a cache that mixes up its entries.
    ForeignSession {
        /// The id of that session.
        #[serde(default = "foreign_id")]
        id: String,
    },
    /// 200 with only the `sessionId` and the `status` of the right body.
    HalfSession,
    /// 200 with only the `sessionId` of the right body.
    HollowSession,
    /// 200 with a JSON object that has a message and nothing else.
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
    /// No answer, while the connection stays open.
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
        /// The same as a date, in seconds from now.
        #[serde(default)]
        retry_after_date: Option<i64>,
    },
    /// A redirect.
    Redirect {
        /// The HTTP status.
        #[serde(default = "code::<302>")]
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
    /// 200 with JSON that breaks off, and a Content-Length that fits it.
    BadJson,
    /// The right body with a second `status` and `accountKey` of other values.
    DuplicateKeys,
    /// The right body and a field of nested arrays.
    DeepNesting {
        /// How many.
        #[serde(default = "number::<10_000>")]
        depth: usize,
    },
    /// The right body and many unknown fields.
    ManyUnknownFields {
        /// Their length together.
        #[serde(default = "number::<1_000_000>")]
        bytes: usize,
    },
    /// The right body after a byte order mark.
    ByteOrderMark,
    /// The right body with a text that is not UTF-8.
    InvalidUtf8,
    /// The right body and one long field.
    Oversized {
        /// The length of that field.
        #[serde(default = "number::<{ (1 << 20) + 1 }>")]
        bytes: usize,
    },
    /// The same, compressed to a few kilobytes.
    GzipBomb {
        /// The length of that field after unpacking.
        #[serde(default = "number::<{ 4 << 20 }>")]
        bytes: usize,
    },
    /// Half of the body that Content-Length announces, then FIN.
    HalfBody,
    /// Half of the body in a chunk, then FIN without the last chunk.
    HalfChunk,
    /// RST before any byte.
    Reset,
    /// RST after half of the body.
    ResetHalfway,
    /// FIN before any byte.
    Close,
    /// Header fields until the client leaves.
    EndlessHeaders,
    /// The right answer, one byte at a time.
    Trickle {
        /// Seconds after each byte.
        #[serde(default = "second")]
        seconds: f64,
    },
    /// The right answer as HTTP/1.0, without a length.
    Http10,
    /// Interim answers, then the right one.
    Informational {
        /// Their status: 100, 102 or 103.
        #[serde(default = "code::<103>")]
        status: u16,
        /// How many.
        #[serde(default = "number::<1>")]
        times: usize,
    },
    /// Bytes that are not HTTP.
    Garbage,
    /// The right body with other values in it, or more.
    Fields {
        /// The fields that differ or are added.
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

    /// The shape that the fault gives to the right answer.
    pub(super) fn shape(&self) -> Shape {
        if let Self::Shape(shape) = *self { shape } else { Shape::default() }
    }

    /// Whether HTTP can express it.
    pub(super) fn can_be_sent(&self) -> bool {
        !matches!(
            self,
            Self::Status { status: ..200 | 1000.., .. }
                | Self::Redirect { status: ..300 | 400.., .. }
                | Self::Informational { status: ..=99 | 101 | 200.., .. }
                | Self::ErrorObject { body: ErrorBody::Html | ErrorBody::Empty, .. }
        )
    }
}

/// A value of Retry-After.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// In seconds.
    Seconds(u64),
    /// Any text.
    Text(String),
}

// The defaults of the parameters, in the form that serde asks for.

fn number<const DEFAULT: usize>() -> usize {
    DEFAULT
}

fn code<const DEFAULT: u16>() -> u16 {
    DEFAULT
}

fn second() -> f64 {
    1.0
}

fn elsewhere() -> String {
    "https://elsewhere.example/".into()
}

fn json() -> String {
    "application/json".into()
}

fn foreign_id() -> String {
    FOREIGN_ID.into()
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
