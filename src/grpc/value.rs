//! Values without a message of our own: times and the fields that the schema does not name.

use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};

use crate::model::{Fields, UtcTime, Value};

/// A time as `google.protobuf.Timestamp`, whose nanoseconds count up also before 1970.
pub(super) fn timestamp(time: impl Into<UtcTime>) -> prost_types::Timestamp {
    const NANOSECONDS: i128 = 1_000_000_000;
    let since_1970 = time.into().nanoseconds();
    prost_types::Timestamp {
        seconds: i64::try_from(since_1970.div_euclid(NANOSECONDS)).unwrap_or_default(),
        nanos: i32::try_from(since_1970.rem_euclid(NANOSECONDS)).unwrap_or_default(),
    }
}

/// The fields as `google.protobuf.Struct`; `None` if there are none.
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
