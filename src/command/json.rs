//! Formats the service's messages as proto3 JSON, one line each.

use std::sync::LazyLock;

use prost::{DecodeError, Message};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions, Value};
use prost_types::{Any, FileDescriptorProto, FileDescriptorSet};

use crate::proto;

/// Why a message has no JSON form.
#[derive(Debug, thiserror::Error)]
#[error("cannot print the answer: {0}")]
pub struct Error(String);

/// The known message types: this API, health, and the error details of google.rpc, which a
/// `STALE` message carries.
static MESSAGES: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| messages().map_err(|error| error.to_string()));

/// Formats a message of this type as one line of JSON, without the fields that have their default.
pub fn line(type_name: &str, message: &impl Message) -> Result<String, Error> {
    let mut message = dynamic(type_name, message)?;
    drop_unreadable_details(pool()?, &mut message);
    let mut line = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(true);
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut line), &options)
        .map_err(unusable)?;
    String::from_utf8(line).map_err(unusable)
}

/// A message of this type with the names and kinds of its fields.
pub fn dynamic(type_name: &str, message: &impl Message) -> Result<DynamicMessage, Error> {
    let descriptor = pool()?
        .get_message_by_name(type_name)
        .ok_or_else(|| Error(format!("{type_name} is unknown")))?;
    Ok(DynamicMessage::decode(descriptor, &*message.encode_to_vec())?)
}

fn pool() -> Result<&'static DescriptorPool, Error> {
    MESSAGES.as_ref().map_err(|error| Error(error.clone()))
}

fn messages() -> Result<DescriptorPool, Box<dyn std::error::Error>> {
    let mut pool = DescriptorPool::new();
    for descriptors in [proto::DESCRIPTORS, tonic_types::pb::FILE_DESCRIPTOR_SET] {
        let set = FileDescriptorSet::decode(descriptors)?;
        let new: Vec<_> = set.file.into_iter().filter(|file| !is_known(&pool, file)).collect();
        pool.add_file_descriptor_protos(new)?;
    }
    Ok(pool)
}

/// Removes error details without a known descriptor. They have no JSON form, and must not prevent
/// the output of the rest of the message.
fn drop_unreadable_details(pool: &DescriptorPool, message: &mut DynamicMessage) {
    if let Some(update) = part(message, "update") {
        drop_unreadable_details(pool, update);
    }
    for name in ["stale_cause", "ended"] {
        if let Some(status) = part(message, name)
            && status.has_field_by_name("details")
            && let Some(Value::List(details)) = status.get_field_by_name_mut("details")
        {
            details.retain(|detail| is_readable(pool, detail).unwrap_or_default());
        }
    }
}

/// The message in this field, if there is one.
fn part<'a>(message: &'a mut DynamicMessage, field: &str) -> Option<&'a mut DynamicMessage> {
    if !message.has_field_by_name(field) {
        return None;
    }
    match message.get_field_by_name_mut(field)? {
        Value::Message(part) => Some(part),
        _ => None,
    }
}

fn is_readable(pool: &DescriptorPool, detail: &Value) -> Option<bool> {
    let detail: Any = detail.as_message()?.transcode_to().ok()?;
    let (_, name) = detail.type_url.rsplit_once('/')?;
    let descriptor = pool.get_message_by_name(name)?;
    Some(DynamicMessage::decode(descriptor, &*detail.value).is_ok())
}

/// Whether the pool already has the messages of a file. tonic-types has its own
/// `google.rpc.Status`, in a file with another name.
fn is_known(pool: &DescriptorPool, file: &FileDescriptorProto) -> bool {
    file.message_type.iter().any(|message| {
        let name = format!("{}.{}", file.package(), message.name());
        pool.get_message_by_name(&name).is_some()
    })
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        unusable(error)
    }
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error(error.to_string())
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;
    use crate::proto::{WatchSessionResponse, watch_session_response::EventType};

    fn line_of(message: &WatchSessionResponse) -> String {
        line("gotoassist.remotesupport.v1.WatchSessionResponse", message).unwrap()
    }

    #[test]
    fn defaults_are_left_out() {
        assert_eq!(line_of(&WatchSessionResponse::default()), "{}");
        let health = proto::health::HealthCheckResponse::default();
        assert_eq!(line("grpc.health.v1.HealthCheckResponse", &health).unwrap(), "{}");
    }

    #[test]
    fn the_cause_of_a_stale_message_is_readable() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(std::time::Duration::from_secs(2)));
        let status = Status::with_error_details(Code::Unavailable, "no answer", details);
        let stale = WatchSessionResponse {
            event_type: EventType::Stale.into(),
            stale_cause: Some(tonic_types::Status::decode(status.details()).unwrap()),
            ..WatchSessionResponse::default()
        };
        assert_eq!(
            line_of(&stale),
            "{\"eventType\":\"EVENT_TYPE_STALE\",\"staleCause\":{\"code\":14,\
             \"message\":\"no answer\",\"details\":[{\
             \"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"2s\"}]}}"
        );
    }

    #[test]
    fn a_detail_that_nobody_here_knows_does_not_hide_the_message() {
        let unknown = prost_types::Any {
            type_url: "type.googleapis.com/example.Unknown".to_owned(),
            value: vec![8, 1],
        };
        let stale = WatchSessionResponse {
            stale_cause: Some(tonic_types::Status {
                code: 14,
                message: "no answer".to_owned(),
                details: vec![unknown],
            }),
            resume_token: "token".to_owned(),
            ..WatchSessionResponse::default()
        };
        assert_eq!(
            line_of(&stale),
            "{\"resumeToken\":\"token\",\"staleCause\":{\"code\":14,\"message\":\"no answer\"}}",
        );
    }
}
