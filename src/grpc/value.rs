//! Converts values to well-known types: times, and fields that are not in the schema.

use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};

use crate::model::{Fields, UtcTime, Value};

/// Converts a time to `google.protobuf.Timestamp`. The nanoseconds of that type count forward in
/// time, even before 1970.
pub(super) fn timestamp(time: impl Into<UtcTime>) -> prost_types::Timestamp {
    const NANOSECONDS: i128 = 1_000_000_000;
    let since_1970 = time.into().nanoseconds();
    prost_types::Timestamp {
        seconds: i64::try_from(since_1970.div_euclid(NANOSECONDS)).unwrap_or_default(),
        nanos: i32::try_from(since_1970.rem_euclid(NANOSECONDS)).unwrap_or_default(),
    }
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
