//! The message of a watch as the service sends it: the same on the wire as
//! [`crate::proto::WatchSessionResponse`], with the session and the resume token as bytes that all
//! watchers share.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use prost::Message as _;

use crate::{
    feed::Reading,
    grpc::{resume_token::Known, session},
    proto,
};

/// One message of a watch. The tags are those of `WatchSessionResponse`; a nested message, a string
/// and a field of bytes have the same form on the wire.
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
    #[prost(bytes = "bytes", tag = "6")]
    pub resume_token: Bytes,
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

/// What all who are told of a reading share.
struct Encoded {
    session: Bytes,
    /// The token sealed last: at a change all watchers know the same.
    token: Mutex<Option<(Known, Bytes)>>,
}

/// The session of a reading, encoded at the first call and shared by all later ones.
pub(super) fn encoded_session(reading: &Reading) -> Bytes {
    encoded(reading).map(|encoded| encoded.session.clone()).unwrap_or_default()
}

/// The resume token of a watcher who was told of `reading` and knows `known`, sealed by `seal` only
/// if it differs from that of the watcher before. The same of one session gives the same token.
pub(super) fn resume_token(
    reading: &Reading,
    known: &Known,
    seal: impl FnOnce() -> String,
) -> Bytes {
    let Some(encoded) = encoded(reading) else { return seal().into() };
    let mut latest = encoded.token.lock().unwrap_or_else(PoisonError::into_inner);
    match &*latest {
        Some((same, token)) if same == known => token.clone(),
        _ => latest.insert((*known, seal().into())).1.clone(),
    }
}

fn encoded(reading: &Reading) -> Option<&Encoded> {
    let encoded = reading.encoded.get_or_init(|| {
        let session = session::to_proto((*reading.session).clone());
        Box::new(Encoded { session: session.encode_to_vec().into(), token: Mutex::default() })
    });
    encoded.downcast_ref()
}
