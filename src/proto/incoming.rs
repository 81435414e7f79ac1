//! The message of a client on a stream of many watches, as the service reads it. One message can
//! hold ten thousand sessions, so they are decoded one by one: a task that decoded them all at once
//! would block the tasks behind it, and a message of empty entries would take fifty times its size
//! of memory.

use std::fmt;

use bytes::{Buf as _, Bytes};
use prost::{
    DecodeError, Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use super::{AllSessions, WatchSessionRequest};

/// The parts of a message. The tags are those of `WatchSessionsRequest`. Nested messages are
/// `bytes` here, because both have the same form on the wire.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct WatchSessionsRequestParts {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub add: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub remove: Option<Bytes>,
}

/// A nested message cannot be decoded.
#[derive(Clone, Copy, Debug)]
pub struct Malformed;

/// One field of an `Add`.
pub enum AddField {
    /// An element of `sessions`.
    Session(WatchSessionRequest),
    /// `all`.
    All(AllSessions),
    /// `heartbeat_interval`.
    HeartbeatInterval(prost_types::Duration),
}

/// One field of a `Remove`.
#[derive(Debug, PartialEq, Eq)]
pub enum RemoveField {
    /// An element of `session_ids`.
    Session(String),
    /// `all` is true.
    All,
}

/// Reads an encoded `Add`.
pub struct AddReader(FieldReader);

/// Reads an encoded `Remove`.
pub struct RemoveReader(FieldReader);

/// Reads the fields of an encoded message.
struct FieldReader(Bytes);

/// The value of a field, if it can be one of ours.
enum Value {
    Bytes(Bytes),
    Varint(u64),
}

impl AddReader {
    /// Reads the message in `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self(FieldReader(bytes))
    }

    /// Returns the next field.
    pub fn read(&mut self) -> Result<Option<AddField>, Malformed> {
        while let Some(field) = self.0.read()? {
            match field {
                (1, Value::Bytes(bytes)) => {
                    return Ok(Some(AddField::Session(WatchSessionRequest::decode(bytes)?)));
                }
                (2, Value::Bytes(bytes)) => {
                    return Ok(Some(AddField::All(AllSessions::decode(bytes)?)));
                }
                (3, Value::Bytes(bytes)) => {
                    let interval = prost_types::Duration::decode(bytes)?;
                    return Ok(Some(AddField::HeartbeatInterval(interval)));
                }
                // A field that this release does not know.
                _ => {}
            }
        }
        Ok(None)
    }
}

impl RemoveReader {
    /// Reads the message in `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self(FieldReader(bytes))
    }

    /// Returns the next field.
    pub fn read(&mut self) -> Result<Option<RemoveField>, Malformed> {
        while let Some(field) = self.0.read()? {
            match field {
                (1, Value::Bytes(bytes)) => {
                    let id = String::from_utf8(bytes.into());
                    return id.map(RemoveField::Session).map(Some).map_err(|_| Malformed);
                }
                (2, Value::Varint(1..)) => return Ok(Some(RemoveField::All)),
                // A field that this release does not know.
                _ => {}
            }
        }
        Ok(None)
    }
}

impl FieldReader {
    fn read(&mut self) -> Result<Option<(u32, Value)>, Malformed> {
        while self.0.has_remaining() {
            let (tag, wire_type) = decode_key(&mut self.0)?;
            match wire_type {
                WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut self.0)?);
                    let length = length.ok().filter(|length| *length <= self.0.remaining());
                    let bytes = self.0.split_to(length.ok_or(Malformed)?);
                    return Ok(Some((tag, Value::Bytes(bytes))));
                }
                WireType::Varint => {
                    return Ok(Some((tag, Value::Varint(decode_varint(&mut self.0)?))));
                }
                WireType::SixtyFourBit
                | WireType::StartGroup
                | WireType::EndGroup
                | WireType::ThirtyTwoBit => {
                    skip_field(wire_type, tag, &mut self.0, DecodeContext::default())?;
                }
            }
        }
        Ok(None)
    }
}

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

impl fmt::Debug for WatchSessionsRequestParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchSessionsRequestParts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        WatchSessionsRequest,
        watch_sessions_request::{Action, Add, Remove},
    };

    fn parts(action: Action) -> WatchSessionsRequestParts {
        let message = WatchSessionsRequest { action: Some(action) };
        WatchSessionsRequestParts::decode(&*message.encode_to_vec()).unwrap()
    }

    fn session(id: &str) -> WatchSessionRequest {
        WatchSessionRequest { session_id: id.to_owned(), ..WatchSessionRequest::default() }
    }

    #[test]
    fn the_sessions_are_read_one_by_one_in_their_order() {
        let seconds = prost_types::Duration { seconds: 7, nanos: 0 };
        let sessions = vec![session("1"), WatchSessionRequest::default(), session("2")];
        let all = AllSessions { from_time: Some(prost_types::Timestamp { seconds: 9, nanos: 0 }) };
        let add = Add { sessions, all: Some(all), heartbeat_interval: Some(seconds) };
        let parts = parts(Action::Add(add));
        assert!(parts.remove.is_none());
        let mut reader = AddReader::new(parts.add.unwrap());
        let mut read = Vec::new();
        while let Some(field) = reader.read().unwrap() {
            read.push(match field {
                AddField::Session(session) => session.session_id,
                AddField::All(all) => format!("since {}", all.from_time.unwrap().seconds),
                AddField::HeartbeatInterval(interval) => interval.seconds.to_string(),
            });
        }
        assert_eq!(read, ["1", "", "2", "since 9", "7"]);
    }

    #[test]
    fn the_ids_to_remove_are_read_one_by_one() {
        let session_ids = vec!["1".to_owned(), "2".to_owned()];
        let parts = parts(Action::Remove(Remove { session_ids, all: true }));
        let mut reader = RemoveReader::new(parts.remove.unwrap());
        let mut next = || reader.read().unwrap();
        assert_eq!(next(), Some(RemoveField::Session("1".to_owned())));
        assert_eq!(next(), Some(RemoveField::Session("2".to_owned())));
        assert_eq!(next(), Some(RemoveField::All));
        assert_eq!(next(), None);
    }

    #[test]
    fn unknown_fields_are_skipped_and_damage_is_an_error() {
        // Field 9 as a varint and as bytes, then an id.
        let bytes = [&[0x48, 0x05, 0x4a, 0x01, 0x00][..], &[0x0a, 0x01, b'x']].concat();
        let mut reader = RemoveReader::new(bytes.into());
        assert_eq!(reader.read().unwrap(), Some(RemoveField::Session("x".to_owned())));
        for damaged in [&[0x0a, 0x05, b'x'][..], &[0x0a], &[0x0a, 0x01, 0xff], &[0x07]] {
            assert!(RemoveReader::new(Bytes::from_static(damaged)).read().is_err(), "{damaged:?}");
        }
        assert!(AddReader::new(Bytes::from_static(&[0x0a, 0x02, 0x0a, 0x05])).read().is_err());
    }
}
