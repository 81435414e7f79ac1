//! The form of a vendor's reply that replicas exchange: JSON, which is sealed before it is sent.
//!
//! Replicas of different versions read each other: fields that are unknown are ignored, and fields
//! that are missing have their defaults.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    model::{Collaborator, Fields, Session, UtcTime, Value},
    wire::{Answer, ConnectionFailure, Error, Kind},
};

/// The vendor's reply to a request for a session.
pub type Reply = Result<Answer<Arc<Session>>, Error>;

/// Sealed texts have a multiple of this length, so that the length tells little of the content.
const BLOCK: usize = 256;

/// A reply and its times, by the clock of Redis in microseconds. The request was not sent, and the
/// reply did not come, before these times.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The replica that got the reply.
    pub publisher: String,
    pub sent: u64,
    pub answered: u64,
    #[serde(flatten)]
    pub content: Content,
}

/// What the vendor replied.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    Session(Box<Shown>),
    Error(Failure),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    kind: String,
    http_status: Option<u16>,
    upstream_code: Option<String>,
    request_id: Option<String>,
    retry_after_ms: Option<u64>,
    connection: Option<String>,
}

/// The fields of a [`Session`].
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    session_id: String,
    session_type: String,
    upstream_status: String,
    account_key: String,
    expert_name: Option<String>,
    expert_email: Option<String>,
    expert_user_key: Option<String>,
    partner_object: Option<String>,
    partner_object_url: Option<String>,
    started_at: Option<Time>,
    customer_joined_at: Option<Time>,
    ended_at: Option<Time>,
    unattended_machine_name: Option<String>,
    unattended_machine_uuid: Option<String>,
    account_name: Option<String>,
    customer_name: Option<String>,
    customer_email: Option<String>,
    customer_join_url: Option<String>,
    notes: Option<String>,
    session_recording_url: Option<String>,
    collaborators: Vec<Technician>,
    additional_fields: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Technician {
    name: String,
    email: String,
    user_key: String,
    additional_fields: BTreeMap<String, serde_json::Value>,
}

/// Nanoseconds since the beginning of 1970, as text, because JSON has no numbers of that size.
#[derive(Debug, Serialize, Deserialize)]
struct Time(String);

impl Content {
    pub fn of(reply: &Reply) -> Self {
        match reply {
            Ok(answer) => Self::Session(Box::new(Shown::of(&answer.content))),
            Err(error) => Self::Error(Failure::of(error)),
        }
    }

    /// What tells whether two replies say the same. Two errors of the same kind do.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let text = match self {
            Self::Session(session) => serde_json::to_vec(session).ok()?,
            Self::Error(failure) => failure.kind.clone().into_bytes(),
        };
        ring::digest::digest(&ring::digest::SHA256, &text).as_ref().try_into().ok()
    }
}

impl Record {
    pub fn write(&self) -> Option<Vec<u8>> {
        let mut text = serde_json::to_vec(self).ok()?;
        // JSON may end with spaces.
        text.resize(text.len().next_multiple_of(BLOCK), b' ');
        Some(text)
    }

    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        let Error { kind, http_status, upstream_code, request_id, retry_after, connection, .. } =
            error.clone();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            kind: kind.name().to_owned(),
            http_status,
            upstream_code,
            request_id,
            retry_after_ms: retry_after.map(milliseconds),
            connection: connection.map(|failure| failure.name().to_owned()),
        }
    }

    /// The error. A kind that only a later version knows is like a temporary failure.
    pub fn to_error(&self) -> Error {
        let connection = self.connection.as_ref();
        Error {
            http_status: self.http_status,
            upstream_code: self.upstream_code.clone(),
            request_id: self.request_id.clone(),
            retry_after: self.retry_after_ms.map(Duration::from_millis),
            connection: connection.map(|name| name.parse().unwrap_or(ConnectionFailure::Other)),
            ..Error::new(self.kind.parse().unwrap_or(Kind::Unavailable))
        }
    }
}

impl Shown {
    fn of(session: &Session) -> Self {
        // No `..`, so that the compiler names a field that is missing here.
        let Session {
            session_id,
            session_type,
            upstream_status,
            account_key,
            expert_name,
            expert_email,
            expert_user_key,
            partner_object,
            partner_object_url,
            started_at,
            customer_joined_at,
            ended_at,
            unattended_machine_name,
            unattended_machine_uuid,
            account_name,
            customer_name,
            customer_email,
            customer_join_url,
            notes,
            session_recording_url,
            collaborators,
            additional_fields,
        } = session.clone();
        Self {
            session_id,
            session_type,
            upstream_status,
            account_key,
            expert_name,
            expert_email,
            expert_user_key,
            partner_object,
            partner_object_url,
            started_at: started_at.map(Time::of),
            customer_joined_at: customer_joined_at.map(Time::of),
            ended_at: ended_at.map(Time::of),
            unattended_machine_name,
            unattended_machine_uuid,
            account_name,
            customer_name,
            customer_email,
            customer_join_url,
            notes,
            session_recording_url,
            collaborators: collaborators.into_iter().map(Technician::of).collect(),
            additional_fields: written(additional_fields),
        }
    }

    pub fn into_session(self) -> Session {
        Session {
            session_id: self.session_id,
            session_type: self.session_type,
            upstream_status: self.upstream_status,
            account_key: self.account_key,
            expert_name: self.expert_name,
            expert_email: self.expert_email,
            expert_user_key: self.expert_user_key,
            partner_object: self.partner_object,
            partner_object_url: self.partner_object_url,
            started_at: self.started_at.and_then(Time::read),
            customer_joined_at: self.customer_joined_at.and_then(Time::read),
            ended_at: self.ended_at.and_then(Time::read),
            unattended_machine_name: self.unattended_machine_name,
            unattended_machine_uuid: self.unattended_machine_uuid,
            account_name: self.account_name,
            customer_name: self.customer_name,
            customer_email: self.customer_email,
            customer_join_url: self.customer_join_url,
            notes: self.notes,
            session_recording_url: self.session_recording_url,
            collaborators: self.collaborators.into_iter().map(Technician::read).collect(),
            additional_fields: read(self.additional_fields),
        }
    }
}

impl Technician {
    fn of(Collaborator { name, email, user_key, additional_fields }: Collaborator) -> Self {
        Self { name, email, user_key, additional_fields: written(additional_fields) }
    }

    fn read(self) -> Collaborator {
        let Self { name, email, user_key, additional_fields } = self;
        Collaborator { name, email, user_key, additional_fields: read(additional_fields) }
    }
}

impl Time {
    fn of(time: UtcTime) -> Self {
        Self(time.nanoseconds().to_string())
    }

    fn read(self) -> Option<UtcTime> {
        self.0.parse().ok().and_then(UtcTime::from_nanoseconds)
    }
}

fn written(fields: Fields) -> BTreeMap<String, serde_json::Value> {
    fields.into_iter().map(|(name, value)| (name, to_json(value))).collect()
}

fn read(fields: BTreeMap<String, serde_json::Value>) -> Fields {
    fields.into_iter().map(|(name, value)| (name, from_json(value))).collect()
}

fn to_json(value: Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => value.into(),
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::List(values) => values.into_iter().map(to_json).collect(),
        Value::Object(fields) => written(fields).into_iter().collect(),
    }
}

fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => {
            number.as_f64().map_or_else(|| Value::Text(number.to_string()), Value::Number)
        }
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(values) => {
            Value::List(values.into_iter().map(from_json).collect())
        }
        serde_json::Value::Object(fields) => Value::Object(read(fields.into_iter().collect())),
    }
}
