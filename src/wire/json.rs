//! Reads JSON the lenient way: any form of a known field is taken that carries its value, what
//! cannot be taken is kept, and no digit is lost.

mod bound;
mod number;
mod time;

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

pub(crate) use self::bound::{ADDITIONAL_FIELDS_LIMIT, bound};
use self::{
    number::number,
    time::{number_since_1970, timestamp},
};
use crate::model::{Disbelief, Fields, UtcTime, Value};

/// Containers nested deeper than this are kept as JSON text: protobuf decoders stop at 100 levels,
/// and each of JSON's costs three of a `google.protobuf.Struct`.
const LEVEL_LIMIT: usize = 24;

/// Why a body cannot be read. Holds nothing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is nothing in it.
    #[error("the body is empty")]
    Empty,
    /// It goes on and on.
    #[error("the body is longer than 1 MiB")]
    TooLong,
    /// It is no text.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// It is text, but no JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// It is JSON, but no object where one belongs.
    #[error("the body is JSON of another shape")]
    WrongShape,
    /// It cannot be unpacked.
    #[error("the body is not encoded as its content-encoding says")]
    BadEncoding,
    /// It is an error of the vendor's, sent as if it were a success.
    #[error("the body is an error object")]
    ErrorObject,
    /// It is no answer to what was asked.
    #[error(transparent)]
    Disbelieved(#[from] Disbelief),
    /// What came is no HTTP at all.
    #[error("the answer is not HTTP")]
    NotHttp,
}

/// The text of a body, without the byte order mark that some servers send (RFC 8259 §8.1 lets a
/// reader ignore it).
pub(crate) fn text(body: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed::NotUtf8)?;
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    if text.is_empty() { Err(Malformed::Empty) } else { Ok(text) }
}

/// The elements of a JSON array.
pub(crate) fn elements(json: &str) -> Result<Vec<&RawValue>, Malformed> {
    if !json.starts_with('[') {
        return Err(shape_or_syntax(json));
    }
    serde_json::from_str(json).map_err(|_| Malformed::NotJson)
}

/// The members of a JSON object, from which the known fields are taken one by one. Of members with
/// the same name the last one counts, as in JavaScript.
pub(crate) struct Members<'a>(Vec<Member<'a>>);

struct Member<'a> {
    name: Cow<'a, str>,
    value: &'a RawValue,
    is_taken: bool,
}

impl<'a> Members<'a> {
    /// Reads one JSON object.
    pub fn of(json: &'a str) -> Result<Self, Malformed> {
        if !json.starts_with('{') {
            return Err(shape_or_syntax(json));
        }
        serde_json::from_str(json).map_err(|_| Malformed::NotJson)
    }

    /// Takes a text. A number is its digits as sent, null is nothing, and anything else stays.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, |value| match kind(value) {
            Kind::Text => Some(unquoted(value).into_owned()),
            Kind::Number => Some(value.get().to_owned()),
            _ => None,
        })
    }

    /// What [`Self::text`] would take.
    pub fn peek_text(&self, name: &str) -> Option<Cow<'a, str>> {
        let member = self.0.iter().rfind(|member| member.name == name)?;
        (kind(member.value) == Kind::Text).then(|| unquoted(member.value))
    }

    /// Takes a text that goes by several names; what the later names hold is taken only if the
    /// earlier ones hold nothing.
    pub fn text_of_any(&mut self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    /// Takes a time. Null is nothing, and what is no time stays.
    pub fn timestamp(&mut self, name: &str) -> Option<UtcTime> {
        self.take(name, |value| match kind(value) {
            Kind::Text => timestamp(&unquoted(value)),
            Kind::Number => number_since_1970(value.get()),
            _ => None,
        })
    }

    /// Takes whatever `read` can make something of. Null is nothing.
    pub fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a RawValue) -> Option<T>,
    ) -> Option<T> {
        let member = self.0.iter_mut().rfind(|member| member.name == name)?;
        if member.is_taken {
            return None;
        }
        let taken = read(member.value);
        member.is_taken = taken.is_some() || kind(member.value) == Kind::Null;
        taken
    }

    /// Whether there is a member of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|member| member.name == name)
    }

    /// The one array among the values, if there is exactly one.
    pub fn only_array(&self) -> Option<&'a RawValue> {
        let mut arrays = self.0.iter().filter(|member| kind(member.value) == Kind::List);
        match (arrays.next(), arrays.next()) {
            (Some(only), None) => Some(only.value),
            _ => None,
        }
    }

    /// Everything that was not taken.
    pub fn rest(self) -> Fields {
        self.fields(1)
    }

    fn fields(self, level: usize) -> Fields {
        if self.0.iter().all(|member| member.is_taken) {
            return Fields::default();
        }
        let mut last: HashMap<_, _> = HashMap::with_capacity(self.0.len());
        for member in self.0 {
            last.insert(member.name, (member.value, member.is_taken));
        }
        last.into_iter()
            .filter(|(_, (_, is_taken))| !is_taken)
            .map(|(name, (json, _))| (name.into_owned(), value(json, level)))
            .collect()
    }
}

/// What a JSON value is, told by its first character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

/// What `value` is.
pub(crate) fn kind(value: &RawValue) -> Kind {
    match value.get().as_bytes().first() {
        Some(b'"') => Kind::Text,
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::List,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// The text inside a JSON string. Half of a surrogate pair, which JSON can spell but no text can
/// hold, becomes U+FFFD.
pub(crate) fn unquoted(value: &RawValue) -> Cow<'_, str> {
    let quoted = value.get();
    match quoted.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Cow::Borrowed(text),
        _ => serde_json::from_str(quoted).map_or(Cow::Borrowed(quoted), |Text(text)| text),
    }
}

/// The value that JSON at a level of nesting (1 = inside the outermost object) stands for.
fn value(json: &RawValue, level: usize) -> Value {
    let as_text = || Value::Text(json.get().to_owned());
    match kind(json) {
        Kind::Null => Value::Null,
        Kind::Bool => Value::Bool(json.get() == "true"),
        Kind::Number => number(json.get()),
        Kind::Text => Value::Text(unquoted(json).into_owned()),
        Kind::List | Kind::Object if level > LEVEL_LIMIT => as_text(),
        Kind::List => elements(json.get()).map_or_else(
            |_| as_text(),
            |elements| {
                Value::List(elements.into_iter().map(|json| value(json, level + 1)).collect())
            },
        ),
        Kind::Object => Members::of(json.get())
            .map_or_else(|_| as_text(), |members| Value::Object(members.fields(level + 1))),
    }
}

fn shape_or_syntax(json: &str) -> Malformed {
    match serde_json::from_str::<de::IgnoredAny>(json) {
        Ok(_) => Malformed::WrongShape,
        Err(_) => Malformed::NotJson,
    }
}

/// A JSON string, read by its bytes, since serde refuses half a surrogate pair in a `str`.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                // Nearly always the case, and much quicker to see.
                Ok(Text(match std::str::from_utf8(bytes) {
                    Ok(text) => Cow::Borrowed(text),
                    Err(_) => String::from_utf8_lossy(bytes),
                }))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }
        }

        deserializer.deserialize_bytes(Visitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::with_capacity(24);
                while let Some((Text(name), value)) = map.next_entry()? {
                    members.push(Member { name, value, is_taken: false });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Value {
        let members = format!(r#"{{"field":{json}}}"#);
        Members::of(&members).unwrap().rest().remove("field").unwrap()
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
    fn half_a_surrogate_pair_is_replaced_and_costs_nothing_else() {
        let mut members = Members::of(r#"{"notes":"a\ud83dz","b\udc00":"\ud83d\ude00"}"#).unwrap();
        let notes = members.text("notes").unwrap();
        assert!(notes.starts_with("a\u{fffd}") && notes.ends_with('z'), "{notes}");
        assert_eq!(members.rest().into_values().next(), Some(Value::Text("😀".to_owned())));
    }

    #[test]
    fn of_the_same_name_the_last_member_counts_taken_or_not() {
        let json = r#"{"notes":"a","x":1,"notes":"b","x":2,"id":"c","id":[],"y":3,"y":null}"#;
        let mut members = Members::of(json).unwrap();
        assert_eq!(members.text("notes").as_deref(), Some("b"));
        assert_eq!(members.text("notes"), None);
        assert_eq!(members.text("id"), None);
        assert_eq!(members.text("y"), None);
        let rest: Vec<_> = members.rest().into_iter().collect();
        let expected = [("id", Value::List(Vec::new())), ("x", Value::Number(2.0))];
        assert_eq!(rest, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_name_is_known_in_any_spelling_of_json() {
        let mut members = Members::of(r#"{"st\u0061tus":"active"}"#).unwrap();
        assert_eq!(members.text("status").as_deref(), Some("active"));
    }
}
