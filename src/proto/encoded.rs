//! The message of a watch as the service sends it: an encoded
//! [`WatchSessionResponse`](super::WatchSessionResponse), so that many watchers can share the same
//! bytes.

use std::fmt;

use bytes::{BufMut as _, Bytes};
use prost::{EncodeError, Message as _};
use tonic::codec::EncodeBuf;

use super::{
    StatusTransition, codec::Outgoing, watch_session_response::EventType,
    watch_sessions_response::StreamHeartbeat,
};

/// An encoded message of a watch.
#[derive(Clone)]
pub struct EncodedWatchResponse {
    bytes: Bytes,
    /// Whether it is the last message of the watch.
    pub is_terminal: bool,
}

/// The parts of a message. The tags are those of `WatchSessionResponse`. Nested messages and
/// strings are `bytes` here, because all three have the same form on the wire.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct WatchResponseParts {
    #[prost(enumeration = "EventType", tag = "1")]
    pub event_type: i32,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub session: Option<Bytes>,
    #[prost(message, repeated, tag = "3")]
    pub transitions: Vec<StatusTransition>,
    #[prost(message, optional, tag = "4")]
    pub changed_fields: Option<prost_types::FieldMask>,
    #[prost(message, optional, tag = "5")]
    pub observed_at: Option<prost_types::Timestamp>,
    #[prost(bytes = "bytes", tag = "6")]
    pub resume_token: Bytes,
    #[prost(bool, tag = "7")]
    pub terminal: bool,
    #[prost(message, optional, tag = "8")]
    pub stale_cause: Option<tonic_types::Status>,
}

/// The parts of a message on a stream of many watches. The tags are those of
/// `WatchSessionsResponse`. Exactly one of the parts after the id is set.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct WatchSessionsResponseParts {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub update: Option<Bytes>,
    #[prost(message, optional, tag = "3")]
    pub ended: Option<tonic_types::Status>,
    #[prost(message, optional, tag = "4")]
    pub heartbeat: Option<StreamHeartbeat>,
}

impl EncodedWatchResponse {
    /// The encoded message.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

impl From<WatchResponseParts> for EncodedWatchResponse {
    fn from(parts: WatchResponseParts) -> Self {
        Self { bytes: parts.encode_to_vec().into(), is_terminal: parts.terminal }
    }
}

impl Outgoing for EncodedWatchResponse {
    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn write(&self, buffer: &mut EncodeBuf<'_>) -> Result<(), EncodeError> {
        buffer.put_slice(&self.bytes);
        Ok(())
    }
}

impl fmt::Debug for EncodedWatchResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedWatchResponse")
            .field("is_terminal", &self.is_terminal)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WatchSessionsResponseParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchSessionsResponseParts").finish_non_exhaustive()
    }
}

impl fmt::Debug for WatchResponseParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchResponseParts")
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}
