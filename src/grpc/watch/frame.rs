//! The message of a watch as the service sends it: the same on the wire as
//! [`crate::proto::WatchSessionResponse`], with the session as bytes that all watchers share.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use crate::{feed::Reading, grpc::session, proto};

/// One message of a watch. The tags are those of `WatchSessionResponse`; a nested message and a
/// field of bytes have the same form on the wire.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
#[expect(missing_docs, reason = "each field is documented in remote_support_service.proto")]
pub struct Frame {
    #[prost(enumeration = "proto::watch_session_response::EventType", tag = "1")]
    pub event_type: i32,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub session: Option<Bytes>,
    #[prost(message, repeated, tag = "3")]
    pub transitions: Vec<proto::StatusTransition>,
    #[prost(message, optional, tag = "4")]
    pub changed_fields: Option<prost_types::FieldMask>,
    #[prost(message, optional, tag = "5")]
    pub observed_at: Option<prost_types::Timestamp>,
    #[prost(string, tag = "6")]
    pub resume_token: String,
    #[prost(bool, tag = "7")]
    pub terminal: bool,
    #[prost(message, optional, tag = "8")]
    pub stale_cause: Option<tonic_types::Status>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("event_type", &self.event_type).finish_non_exhaustive()
    }
}

/// The session of a reading, encoded at the first call and shared by all later ones.
pub(super) fn encoded_session(reading: &Reading) -> Bytes {
    let encoded = reading.encoded.get_or_init(|| {
        let session = session::to_proto((*reading.session).clone());
        Box::new(Bytes::from(session.encode_to_vec()))
    });
    encoded.downcast_ref().cloned().unwrap_or_default()
}
