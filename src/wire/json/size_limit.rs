//! Limits the size of the unknown fields, so that a session does not become a message larger than
//! callers accept.

use crate::model::{Fields, Value};

/// The most bytes that the unknown fields of one session take as a `google.protobuf.Struct`. gRPC
/// clients accept messages of 4 MiB by default.
pub(crate) const ADDITIONAL_FIELDS_LIMIT: usize = 256 * 1024;

/// The field that says what was left out.
const MARKER: &str = "omittedFields";

/// How many of the omitted fields the marker names, and how many bytes of each name.
const NAMES: usize = 20;
const NAME_LENGTH: usize = 64;

/// Leaves out the fields that do not fit into `limit` bytes, and names them in one more field. Returns
/// how many bytes of the limit are left.
pub(crate) fn limit_size(fields: &mut Fields, limit: usize) -> usize {
    let mut left = limit;
    let mut omitted = Vec::new();
    fields.retain(|name, value| {
        let rest = left.checked_sub(entry_size(name, value));
        match rest {
            Some(rest) => left = rest,
            None => omitted.push(name.clone()),
        }
        rest.is_some()
    });
    if !omitted.is_empty() {
        fields.insert(MARKER.to_owned(), marker(&omitted));
    }
    left
}

fn marker(omitted: &[String]) -> Value {
    let shortened =
        |name: &String| Value::Text(name[..name.floor_char_boundary(NAME_LENGTH)].to_owned());
    let names = omitted.iter().take(NAMES).map(shortened).collect();
    #[expect(clippy::cast_precision_loss, reason = "a body of 1 MiB has fewer fields than 2^52")]
    let count = omitted.len() as f64;
    Value::Object(Fields::from([
        ("count".to_owned(), Value::Number(count)),
        ("names".to_owned(), Value::List(names)),
    ]))
}

/// The size of one entry of a `google.protobuf.Struct`.
fn entry_size(name: &str, value: &Value) -> usize {
    field_size(field_size(name.len()) + field_size(size(value)))
}

/// The size of a `google.protobuf.Value`.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 2,
        Value::Number(_) => 9,
        Value::Text(text) => field_size(text.len()),
        Value::List(values) => field_size(values.iter().map(|value| field_size(size(value))).sum()),
        Value::Object(fields) => {
            field_size(fields.iter().map(|(name, value)| entry_size(name, value)).sum())
        }
    }
}

/// The size of a field with `length` bytes of content: its tag, its length and its content.
fn field_size(length: usize) -> usize {
    let length_bits = (length | 1).ilog2() + 1;
    1 + length_bits.div_ceil(7) as usize + length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Value {
        Value::Text("x".repeat(length))
    }

    #[test]
    fn fields_that_fit_are_unchanged() {
        let mut fields = Fields::from([("a".to_owned(), text(100)), ("b".to_owned(), Value::Null)]);
        let before = fields.clone();
        let left = limit_size(&mut fields, 1000);
        assert_eq!(fields, before);
        assert!((880..900).contains(&left), "{left}");
    }

    #[test]
    fn fields_that_do_not_fit_are_named() {
        let [a, b, c] = ["a", "b", "c"].map(str::to_owned);
        let mut fields = Fields::from([(a, text(700)), (b, text(700)), (c, Value::Bool(true))]);
        limit_size(&mut fields, 1000);
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["a", "c", MARKER]);
        let expected = Fields::from([
            ("count".to_owned(), Value::Number(1.0)),
            ("names".to_owned(), Value::List(vec![Value::Text("b".to_owned())])),
        ]);
        assert_eq!(fields[MARKER], Value::Object(expected));
    }

    #[test]
    fn the_marker_is_small_whatever_is_omitted() {
        let mut fields: Fields = (0..1000)
            .map(|number| (format!("{number}{}", "\u{e9}".repeat(200)), Value::Null))
            .collect();
        limit_size(&mut fields, 0);
        assert_eq!(fields.len(), 1);
        assert!(entry_size(MARKER, &fields[MARKER]) < 2000);
    }
}
