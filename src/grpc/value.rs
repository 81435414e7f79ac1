//! Converts values to well-known types: times, and fields that are not in the schema.

use jiff::Timestamp;
use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};

use crate::model::{Fields, UtcTime, Value};

const NANOSECONDS: i128 = 1_000_000_000;

/// Converts a time to `google.protobuf.Timestamp`. The nanoseconds of that type count forward in
/// time, even before 1970.
pub(super) fn timestamp(time: impl Into<UtcTime>) -> prost_types::Timestamp {
    let since_1970 = time.into().nanoseconds();
    prost_types::Timestamp {
        seconds: i64::try_from(since_1970.div_euclid(NANOSECONDS)).unwrap_or_default(),
        nanos: i32::try_from(since_1970.rem_euclid(NANOSECONDS)).unwrap_or_default(),
    }
}

/// Converts a `google.protobuf.Timestamp` to a time.
pub(super) fn time(time: &prost_types::Timestamp) -> Result<Timestamp, &'static str> {
    let nanoseconds = i128::from(time.seconds) * NANOSECONDS + i128::from(time.nanos);
    (0..NANOSECONDS)
        .contains(&time.nanos.into())
        .then_some(nanoseconds)
        .and_then(UtcTime::from_nanoseconds)
        .map(UtcTime::to_timestamp)
        .ok_or("must be a time from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z")
}

/// Converts fields to `google.protobuf.Struct`. Returns `None` if there are no fields.
pub(super) fn optional_struct(fields: &Fields) -> Option<Struct> {
    (!fields.is_empty()).then(|| to_struct(fields))
}

fn to_struct(fields: &Fields) -> Struct {
    let fields = fields.iter().map(|(name, value)| (name.clone(), to_value(value))).collect();
    Struct { fields }
}

fn to_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(answer) => Kind::BoolValue(*answer),
        Value::Number(number) => Kind::NumberValue(*number),
        Value::Text(text) => Kind::StringValue(text.clone()),
        Value::List(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(to_value).collect() })
        }
        Value::Object(fields) => Kind::StructValue(to_struct(fields)),
    };
    ProtoValue { kind: Some(kind) }
}
