//! The message of a watch as the service sends it: a [`crate::proto::WatchSessionResponse`], encoded
//! once for all watchers who are told the same.

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

use bytes::{BufMut as _, Bytes};
use prost::{EncodeError, Message as _};
use tonic::codec::EncodeBuf;

use crate::{
    feed::Revision,
    grpc::{codec::Outgoing, session},
    model::Known,
    proto,
};

/// One message of a watch, encoded.
#[derive(Clone)]
pub struct Frame {
    bytes: Bytes,
    /// Whether it is the last one.
    pub(super) is_terminal: bool,
}

/// What a message is made of. The tags are those of `WatchSessionResponse`; a nested message, a
/// string and a field of bytes have the same form on the wire.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct Parts {
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

impl From<Parts> for Frame {
    fn from(parts: Parts) -> Self {
        Self { bytes: parts.encode_to_vec().into(), is_terminal: parts.terminal }
    }
}

impl Outgoing for Frame {
    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn write(&self, buffer: &mut EncodeBuf<'_>) -> Result<(), EncodeError> {
        buffer.put_slice(&self.bytes);
        Ok(())
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("is_terminal", &self.is_terminal).finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("event_type", &self.event_type).finish_non_exhaustive()
    }
}

/// What all who are told of a revision share.
struct Encoded {
    session: Bytes,
    /// The token sealed last: mostly all watchers know the same.
    token: Mutex<Option<(Known, Bytes)>>,
    /// The message for those who were told of the revision before, and what they know after it.
    next: OnceLock<(Known, Frame)>,
}

/// The session of a revision, encoded at the first call and shared by all later ones.
pub(super) fn encoded_session(revision: &Revision) -> Bytes {
    encoded(revision).map(|encoded| encoded.session.clone()).unwrap_or_default()
}

/// The resume token of a watcher who was told of `revision` and knows `known`, sealed by `seal` only
/// if it differs from that of the watcher before. The same of one session gives the same token.
pub(super) fn resume_token(
    revision: &Revision,
    known: &Known,
    seal: impl FnOnce() -> String,
) -> Bytes {
    let Some(encoded) = encoded(revision) else { return seal().into() };
    let mut latest = encoded.token.lock().unwrap_or_else(PoisonError::into_inner);
    match &*latest {
        Some((same, token)) if same == known => token.clone(),
        _ => latest.insert((*known, seal().into())).1.clone(),
    }
}

/// The message for a watcher who is told of `revision` after the one before it, and knows `known`
/// then: that of the first such watcher if it fits this one too, else made by `make`.
pub(super) fn next_frame(
    revision: &Revision,
    known: &Known,
    is_terminal: bool,
    make: impl FnOnce() -> Frame,
) -> Frame {
    let Some(encoded) = encoded(revision) else { return make() };
    match encoded.next.get() {
        Some((same, frame)) if same == known && frame.is_terminal == is_terminal => frame.clone(),
        Some(_) => make(),
        None => {
            let frame = make();
            // What a strange resume token has brought along is not what the others know.
            if known.observed_at == revision.observed_at {
                // Another watcher may have been quicker, and theirs is as good.
                let _ = encoded.next.set((*known, frame.clone()));
            }
            frame
        }
    }
}

fn encoded(revision: &Revision) -> Option<&Encoded> {
    let encoded = revision.encoded.get_or_init(|| {
        let session = session::to_proto((*revision.session).clone());
        Box::new(Encoded {
            session: session.encode_to_vec().into(),
            token: Mutex::default(),
            next: OnceLock::new(),
        })
    });
    encoded.downcast_ref()
}
