//! Reads JSON tolerantly. A known field is accepted in any form that carries its value. A value
//! that the field cannot hold is kept among the unknown fields. No digit of a number is lost.

mod list_parser;
mod number;
mod size_limit;
mod time;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

pub(crate) use self::list_parser::{ListParser, Part};
pub(crate) use self::size_limit::{ADDITIONAL_FIELDS_LIMIT, limit_size};
use self::{
    number::number,
    time::{since_1970, timestamp},
};
use crate::{
    model::{Fields, UtcTime, Value},
    wire::invalid_body::InvalidBody,
};

/// How many fields of a session the vendor documents, about.
const DOCUMENTED_FIELDS: usize = 24;

/// Values nested deeper than this are kept as JSON text. Protobuf decoders stop at 100 levels, and
/// each level of JSON takes three of a `google.protobuf.Struct`.
const MAX_DEPTH: usize = 24;

/// The text of a body, without the byte order mark that some servers send (RFC 8259 §8.1).
pub(crate) fn body_text(body: &[u8]) -> Result<&str, InvalidBody> {
    let text = std::str::from_utf8(body).map_err(|_| InvalidBody::NotUtf8)?;
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    if text.is_empty() { Err(InvalidBody::Empty) } else { Ok(text) }
}

/// The elements of a JSON array.
pub(crate) fn elements(json: &str) -> Result<Vec<&RawValue>, InvalidBody> {
    parse(json, '[')
}

/// Parses an array or object, which begins with `first`.
fn parse<'a, T: Deserialize<'a>>(json: &'a str, first: char) -> Result<T, InvalidBody> {
    if !json.starts_with(first) && serde_json::from_str::<IgnoredAny>(json).is_ok() {
        return Err(InvalidBody::WrongShape);
    }
    serde_json::from_str(json).map_err(|_| InvalidBody::NotJson)
}

/// A JSON object, from which the known fields are taken one by one. If a name occurs more than once,
/// the last one counts, as in JavaScript.
///
/// The members are not sorted: a search through the few of a session is faster than a map.
pub(crate) struct Object<'a>(Vec<(JsonString<'a>, &'a RawValue)>);

impl<'a> Deserialize<'a> for Object<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'a> Visitor<'a> for Members {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Object<'a>, A::Error> {
                let mut members = Vec::with_capacity(DOCUMENTED_FIELDS);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'a> Object<'a> {
    /// Parses one JSON object.
    pub fn parse(json: &'a str) -> Result<Self, InvalidBody> {
        parse(json, '{')
    }

    /// Takes a text. A number becomes its digits as sent. Null counts as absent.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, |value| match type_of(value) {
            JsonType::String => Some(string(value)),
            JsonType::Number => Some(value.get().to_owned()),
            JsonType::Null | JsonType::Bool | JsonType::Array | JsonType::Object => None,
        })
    }

    /// Takes a text from the first of these names that has one.
    pub fn text_of_any(&mut self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    /// Takes a time. Null counts as absent.
    pub fn timestamp(&mut self, name: &str) -> Option<UtcTime> {
        self.take(name, |value| match type_of(value) {
            JsonType::String => timestamp(&string(value)),
            JsonType::Number => since_1970(value.get()),
            JsonType::Null | JsonType::Bool | JsonType::Array | JsonType::Object => None,
        })
    }

    /// Takes the value of a field if `read` accepts it. Null counts as absent. Any other value
    /// stays in the object.
    pub fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a RawValue) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let content = read(value);
        if content.is_some() || type_of(value) == JsonType::Null {
            self.0.retain(|(member, _)| member.0 != name.as_bytes());
        }
        content
    }

    /// The value of a field, which stays in the object.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rfind(|(member, _)| member.0 == name.as_bytes()).map(|(_, value)| *value)
    }

    /// The one array among the values, if there is exactly one.
    pub fn only_array(&self) -> Option<&'a RawValue> {
        let mut arrays = self
            .0
            .iter()
            .map(|(_, value)| *value)
            .filter(|value| type_of(value) == JsonType::Array);
        arrays.next().filter(|_| arrays.next().is_none())
    }

    /// The fields that were not taken.
    pub fn rest(self) -> Fields {
        self.fields(1)
    }

    fn fields(self, depth: usize) -> Fields {
        self.0.into_iter().map(|(name, json)| (name.into_text(), value(json, depth))).collect()
    }
}

/// A JSON string as bytes: JSON can spell half of a surrogate pair, which no Rust string can hold.
#[derive(Deserialize)]
#[serde(transparent)]
struct JsonString<'a>(#[serde(borrow)] Cow<'a, [u8]>);

impl JsonString<'_> {
    /// The text, in which half of a surrogate pair becomes U+FFFD.
    fn into_text(self) -> String {
        String::from_utf8(self.0.into_owned())
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// The types of JSON values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonType {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// The type of `value`. The first character decides.
pub(crate) fn type_of(value: &RawValue) -> JsonType {
    match value.get().as_bytes().first() {
        Some(b'"') => JsonType::String,
        Some(b'{') => JsonType::Object,
        Some(b'[') => JsonType::Array,
        Some(b't' | b'f') => JsonType::Bool,
        Some(b'n') | None => JsonType::Null,
        Some(_) => JsonType::Number,
    }
}

/// The text of a JSON string.
pub(crate) fn string(value: &RawValue) -> String {
    let text = serde_json::from_str(value.get()).map(JsonString::into_text);
    text.unwrap_or_else(|_| value.get().to_owned())
}

/// The value at a depth of nesting. The fields of the outermost object have depth 1.
fn value(json: &RawValue, depth: usize) -> Value {
    let text = || Value::Text(json.get().to_owned());
    match type_of(json) {
        JsonType::Null => Value::Null,
        JsonType::Bool => Value::Bool(json.get() == "true"),
        JsonType::Number => number(json.get()),
        JsonType::String => Value::Text(string(json)),
        JsonType::Array | JsonType::Object if depth > MAX_DEPTH => text(),
        JsonType::Array => elements(json.get()).map_or_else(
            |_| text(),
            |all| Value::List(all.into_iter().map(|json| value(json, depth + 1)).collect()),
        ),
        JsonType::Object => Object::parse(json.get())
            .map_or_else(|_| text(), |object| Value::Object(object.fields(depth + 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Value {
        let object = format!(r#"{{"field":{json}}}"#);
        Object::parse(&object).unwrap().rest().remove("field").unwrap()
    }

    #[test]
    fn values_deeper_than_24_levels_are_json_text() {
        let depth = |mut value: Value| {
            let mut levels = 0;
            while let Value::List(mut values) = value {
                value = values.remove(0);
                levels += 1;
            }
            (levels, value)
        };
        let nested = |levels: usize| format!("{}7{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(depth(read(&nested(24))), (24, Value::Number(7.0)));
        assert_eq!(depth(read(&nested(26))), (24, Value::Text("[[7]]".to_owned())));
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_all_other_text_is_kept() {
        let mut object = Object::parse(r#"{"notes":"a\ud83dz","b\udc00":"\ud83d\ude00"}"#).unwrap();
        let notes = object.text("notes").unwrap();
        assert!(notes.starts_with("a\u{fffd}") && notes.ends_with('z'), "{notes}");
        assert_eq!(object.rest().into_values().next(), Some(Value::Text("😀".to_owned())));
    }

    #[test]
    fn the_last_member_of_the_same_name_counts() {
        let json = r#"{"notes":"a","x":1,"notes":"b","x":2,"id":"c","id":[],"y":3,"y":null}"#;
        let mut object = Object::parse(json).unwrap();
        assert_eq!(object.text("notes").as_deref(), Some("b"));
        assert_eq!(object.text("notes"), None);
        assert_eq!(object.text("id"), None);
        assert_eq!(object.text("y"), None);
        let rest: Vec<_> = object.rest().into_iter().collect();
        let expected = [("id", Value::List(Vec::new())), ("x", Value::Number(2.0))];
        assert_eq!(rest, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_name_is_known_in_any_spelling_of_json() {
        let mut object = Object::parse(r#"{"st\u0061tus":"active"}"#).unwrap();
        assert_eq!(object.text("status").as_deref(), Some("active"));
    }
}
