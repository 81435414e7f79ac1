//! The proto3 JSON form of the service's messages, one line each.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic_health::pb::HealthCheckResponse;

use crate::proto::{self, GetSessionResponse, ListSystemLinksResponse, WatchSessionResponse};

/// Why a message has no JSON form.
#[derive(Debug, thiserror::Error)]
#[error("cannot print the answer: {0}")]
pub struct Error(String);

/// A message and its name in the protos.
pub trait Named: Message {
    /// The full name.
    const NAME: &'static str;
}

impl Named for GetSessionResponse {
    const NAME: &'static str = "gotoassist.remotesupport.v1.GetSessionResponse";
}

impl Named for ListSystemLinksResponse {
    const NAME: &'static str = "gotoassist.remotesupport.v1.ListSystemLinksResponse";
}

impl Named for WatchSessionResponse {
    const NAME: &'static str = "gotoassist.remotesupport.v1.WatchSessionResponse";
}

impl Named for HealthCheckResponse {
    const NAME: &'static str = "grpc.health.v1.HealthCheckResponse";
}

/// Prints messages by their descriptors.
#[derive(Clone, Debug)]
pub struct Printer {
    pool: DescriptorPool,
}

impl Printer {
    /// A printer of all messages that this program knows: its own, health's, and google.rpc's
    /// error details, which a STALE message carries.
    pub fn new() -> Result<Self, Error> {
        let mut pool = DescriptorPool::new();
        for descriptors in [
            proto::DESCRIPTORS,
            tonic_types::pb::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
        ] {
            let set = FileDescriptorSet::decode(descriptors).map_err(unusable)?;
            let new: Vec<_> = set.file.into_iter().filter(|file| !is_known(&pool, file)).collect();
            pool.add_file_descriptor_protos(new).map_err(unusable)?;
        }
        Ok(Self { pool })
    }

    /// `message` as one line of JSON. Fields at their default are left out.
    pub fn line<M: Named>(&self, message: &M) -> Result<String, Error> {
        let descriptor = self
            .pool
            .get_message_by_name(M::NAME)
            .ok_or_else(|| Error(format!("{} is unknown", M::NAME)))?;
        let message =
            DynamicMessage::decode(descriptor, &*message.encode_to_vec()).map_err(unusable)?;
        let mut line = Vec::new();
        message
            .serialize_with_options(
                &mut serde_json::Serializer::new(&mut line),
                &SerializeOptions::new().skip_default_fields(true),
            )
            .map_err(unusable)?;
        String::from_utf8(line).map_err(unusable)
    }
}

/// Whether a file's messages are there already: tonic-types brings its own `google.rpc.Status`,
/// under another file name than ours.
fn is_known(pool: &DescriptorPool, file: &FileDescriptorProto) -> bool {
    file.message_type.iter().any(|message| {
        let name = format!("{}.{}", file.package(), message.name());
        pool.get_message_by_name(&name).is_some()
    })
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error(error.to_string())
}
