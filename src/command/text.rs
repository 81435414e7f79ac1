//! Formats the service's messages as text for people: one field a line, the values aligned.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _, Value};
use prost_types::{Struct, Timestamp, value};

use super::{json::Error, output::DIM, status};
use crate::proto::SessionStatus;

/// The lines of a message. Fields that are not set are left out.
pub fn lines(message: &DynamicMessage) -> Result<String, Error> {
    let mut rows = Vec::new();
    add_fields(&mut rows, message)?;
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let lines = rows.iter().map(|(name, text)| format!("{DIM}{name:<width$}{DIM:#}  {text}"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The text without control characters, which could command the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// A name, and its value.
type Row = (String, String);

fn add_fields(rows: &mut Vec<Row>, message: &DynamicMessage) -> Result<(), Error> {
    for field in message.descriptor().fields().filter(|field| message.has_field(field)) {
        let value = message.get_field(&field);
        match value.as_list() {
            Some(elements) => {
                for element in elements {
                    add(rows, &field, element)?;
                }
            }
            None => add(rows, &field, &value)?,
        }
    }
    Ok(())
}

fn add(rows: &mut Vec<Row>, field: &FieldDescriptor, value: &Value) -> Result<(), Error> {
    let name = field.json_name().to_owned();
    let Value::Message(message) = value else {
        rows.push((name, text(field, value)));
        return Ok(());
    };
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => rows.push((name, time(&message.transcode_to()?))),
        "google.protobuf.Struct" => {
            let fields = message.transcode_to::<Struct>()?.fields;
            rows.extend(fields.iter().map(|(name, value)| (clean(name), unknown(value))));
        }
        // The elements of a list are short, such as collaborators.
        _ if field.is_list() => {
            let mut parts = Vec::new();
            add_fields(&mut parts, message)?;
            let parts: Vec<_> = parts.into_iter().map(|(_, text)| text).collect();
            rows.push((name, parts.join(", ")));
        }
        _ => add_fields(rows, message)?,
    }
    Ok(())
}

fn text(field: &FieldDescriptor, value: &Value) -> String {
    match (field.kind(), value) {
        (Kind::Enum(names), Value::EnumNumber(number)) => match names.full_name() {
            "gotoassist.remotesupport.v1.SessionStatus" => {
                status::name(SessionStatus::try_from(*number).unwrap_or_default())
            }
            _ => names.get_value(*number).map_or(number.to_string(), |value| value.name().into()),
        },
        (_, Value::String(text)) => clean(text),
        (_, other) => other.to_string(),
    }
}

fn time(time: &Timestamp) -> String {
    jiff::Timestamp::new(time.seconds, time.nanos)
        .map_or_else(|_| String::new(), |time| time.to_string())
}

/// The value of a field that the service does not know.
fn unknown(value: &prost_types::Value) -> String {
    use value::Kind::{BoolValue, ListValue, NullValue, NumberValue, StringValue, StructValue};
    match &value.kind {
        Some(StringValue(text)) => clean(text),
        Some(NumberValue(number)) => number.to_string(),
        Some(BoolValue(truth)) => truth.to_string(),
        Some(NullValue(_)) | None => "null".to_owned(),
        Some(ListValue(list)) => {
            format!("[{}]", list.values.iter().map(unknown).collect::<Vec<_>>().join(", "))
        }
        Some(StructValue(fields)) => {
            let fields = fields.fields.iter();
            let fields = fields.map(|(name, value)| format!("{}: {}", clean(name), unknown(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::{super::json, *};
    use crate::proto::{Collaborator, GetSessionResponse, Session};

    fn plain(session: Session) -> String {
        let observed_at = Some(Timestamp { seconds: 1_619_762_400, nanos: 0 });
        let answer = GetSessionResponse { session: Some(session), observed_at };
        let name = "gotoassist.remotesupport.v1.GetSessionResponse";
        strip_str(&lines(&json::dynamic(name, &answer).unwrap()).unwrap()).to_string()
    }

    #[test]
    fn each_field_is_a_line_with_aligned_values() {
        let ann = Collaborator {
            name: "Ann".into(),
            email: "ann@example.com".into(),
            ..Collaborator::default()
        };
        let unknown = |kind| prost_types::Value { kind: Some(kind) };
        let list = prost_types::ListValue {
            values: vec![
                unknown(value::Kind::NumberValue(7.0)),
                unknown(value::Kind::NullValue(0)),
            ],
        };
        let fields = Struct {
            fields: [
                ("room".to_owned(), unknown(value::Kind::StringValue("4\u{1b}[2J".into()))),
                ("seats".to_owned(), unknown(value::Kind::ListValue(list))),
            ]
            .into(),
        };
        let session = Session {
            session_id: "250040353".into(),
            status: SessionStatus::Active.into(),
            started_at: Some(Timestamp { seconds: 1_619_762_400, nanos: 250_000_000 }),
            notes: Some("one\ntwo".into()),
            collaborators: vec![
                ann,
                Collaborator { name: "Bob".into(), ..Collaborator::default() },
            ],
            additional_fields: Some(fields),
            ..Session::default()
        };
        assert_eq!(
            plain(session),
            "sessionId      250040353\n\
             status         active\n\
             startedAt      2021-04-30T06:00:00.25Z\n\
             notes          one\u{fffd}two\n\
             collaborators  Ann, ann@example.com\n\
             collaborators  Bob\n\
             room           4\u{fffd}[2J\n\
             seats          [7, null]\n\
             observedAt     2021-04-30T06:00:00Z"
        );
    }
}
