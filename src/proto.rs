//! The messages and stubs generated from the protos. Only [`crate::grpc`] and [`crate::client`]
//! use them.

#![expect(missing_docs, clippy::pedantic, clippy::large_enum_variant, reason = "generated code")]

use std::fmt;

tonic::include_proto!("gotoassist.remotesupport.v1");

pub mod code;
#[cfg(feature = "service")]
pub mod codec;
#[cfg(feature = "service")]
pub mod encoded;
#[cfg(feature = "service")]
pub mod incoming;

/// The stubs that the service implements. They are the same as the stubs above, except for the
/// messages of watches: those in [`encoded`] and [`incoming`] have the same form on the wire.
#[cfg(feature = "service")]
pub mod serving {
    include!(concat!(env!("OUT_DIR"), "/serving/gotoassist.remotesupport.v1.rs"));
}

/// gRPC's own health protocol.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// A serialized `google.protobuf.FileDescriptorSet` with all protos, their imports, comments and
/// options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Generated `Debug` would print personal data and credentials.
macro_rules! debug_prints_the_name {
    ($($message:ty),*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )*};
}

debug_prints_the_name!(
    Session,
    Collaborator,
    SystemLink,
    GetSessionRequest,
    GetSessionResponse,
    ListSessionsRequest,
    ListSessionsResponse,
    ListSystemLinksRequest,
    ListSystemLinksResponse,
    WatchSessionRequest,
    WatchSessionResponse,
    WatchSessionsRequest,
    WatchSessionsResponse,
    watch_sessions_request::Add,
    watch_sessions_request::Remove,
    watch_sessions_request::Action,
    watch_sessions_response::Body,
    watch_sessions_response::StreamHeartbeat
);

/// Written by hand because the build skips `Debug` for the enclosing message and for all types
/// nested in it.
impl fmt::Debug for watch_session_response::EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str_name())
    }
}
