//! A bound on the fields that the schema does not name, so that an answer full of them does not
//! become a message larger than callers take.

use crate::model::{Fields, Value};

/// What the fields of one session may take as a `google.protobuf.Struct`, in bytes. gRPC clients
/// take 4 MiB a message by default.
pub(crate) const ADDITIONAL_FIELDS_LIMIT: usize = 256 * 1024;

/// The field that says what was left out.
const MARKER: &str = "omittedFields";

/// How many of the omitted fields the marker names, and how much of each name, in bytes.
const NAMES: usize = 20;
const NAME_LENGTH: usize = 64;

/// Leaves out the fields that do not fit `limit` bytes, and names them in one more field. Returns
/// how much of the limit is left.
pub(crate) fn bound(fields: &mut Fields, limit: usize) -> usize {
    let mut left = limit;
    let mut omitted = Vec::new();
    fields.retain(|name, value| {
        let size = entry_size(name, value);
        let fits = size <= left;
        if fits {
            left -= size;
        } else {
            omitted.push(name.clone());
        }
        fits
    });
    if !omitted.is_empty() {
        fields.insert(MARKER.to_owned(), marker(&omitted));
    }
    left
}

fn marker(omitted: &[String]) -> Value {
    let shortened = |name: &String| {
        let end = name.floor_char_boundary(NAME_LENGTH);
        Value::Text(name[..end].to_owned())
    };
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
    delimited(delimited(name.len()) + delimited(size(value)))
}

/// The size of a `google.protobuf.Value`.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 2,
        Value::Number(_) => 9,
        Value::Text(text) => delimited(text.len()),
        Value::List(values) => delimited(values.iter().map(|value| delimited(size(value))).sum()),
        Value::Object(fields) => {
            delimited(fields.iter().map(|(name, value)| entry_size(name, value)).sum())
        }
    }
}

/// The size of a field of so many bytes, with its tag and length.
fn delimited(length: usize) -> usize {
    let significant_bits = usize::BITS - (length | 1).leading_zeros();
    1 + usize::try_from(significant_bits.div_ceil(7)).unwrap_or_default() + length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Value {
        Value::Text("x".repeat(length))
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut fields = Fields::from([("a".to_owned(), text(100)), ("b".to_owned(), Value::Null)]);
        let before = fields.clone();
        let left = bound(&mut fields, 1000);
        assert_eq!(fields, before);
        assert!((880..900).contains(&left), "{left}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut fields = Fields::from([
            ("a".to_owned(), text(700)),
            ("b".to_owned(), text(700)),
            ("c".to_owned(), Value::Bool(true)),
        ]);
        bound(&mut fields, 1000);
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
        bound(&mut fields, 0);
        assert_eq!(fields.len(), 1);
        assert!(entry_size(MARKER, &fields[MARKER]) < 2000);
    }
}
