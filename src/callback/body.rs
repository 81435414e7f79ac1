//! Finds the sessions that the body of a callback names. Nothing else of a body is used. The vendor
//! does not document the body, so both JSON and forms are read, whatever the content type says.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Error, value::RawValue};
use url::form_urlencoded;

use crate::model::SessionId;

/// The names of the fields that name a session, without separators and in lower case.
const NAMES: [&str; 4] = ["sessionid", "sessionstarttoken", "sessiontoken", "token"];

/// How many levels of nested objects and arrays are searched.
const LEVELS: u8 = 3;

/// The greatest number of names that are found. A session has an id and at most two tokens.
pub(super) const MAX_NAMES: usize = 8;

/// Returns the ids and tokens in a body, without duplicates. Returns none if the body cannot be read.
pub(super) fn sessions(body: &[u8]) -> Vec<SessionId> {
    // A customer's name in another encoding does not prevent the search for the id.
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let mut found = Found::default();
    if text.starts_with(['{', '[']) {
        return match read_json(text, LEVELS, &mut found) {
            Ok(()) => found.sessions,
            Err(_) => Vec::new(),
        };
    }
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = value.trim();
        if value.starts_with(['{', '[']) {
            let before = found.sessions.len();
            if read_json(value, LEVELS - 1, &mut found).is_err() {
                found.sessions.truncate(before);
            }
        } else if names_session(&name) {
            found.add(value);
        }
    }
    found.sessions
}

#[derive(Default)]
struct Found {
    sessions: Vec<SessionId>,
}

impl Found {
    fn add(&mut self, text: &str) {
        if self.sessions.len() < MAX_NAMES
            && let Ok(session) = text.trim().parse::<SessionId>()
            && !self.sessions.contains(&session)
        {
            self.sessions.push(session);
        }
    }
}

/// Whether a field with this name holds the id or token of a session. Names are compared without
/// their case, their separators, and the names of the objects around them, as in `session[sessionId]`
/// or `session.session_id`.
fn names_session(name: &str) -> bool {
    let last = name.rsplit(['[', ']', '.']).find(|part| !part.is_empty()).unwrap_or_default();
    let letters = || last.bytes().filter(|byte| !b"_- ".contains(byte));
    NAMES.iter().any(|known| letters().map(|byte| byte.to_ascii_lowercase()).eq(known.bytes()))
}

/// Searches the fields of an object or array, and of `levels - 1` levels below it.
fn read_json(text: &str, levels: u8, found: &mut Found) -> Result<(), Error> {
    let mut json = Deserializer::from_str(text);
    json.deserialize_any(Fields { levels, found })?;
    json.end()
}

/// Reads one field or element. Keeps the digits of a number as they were sent.
fn read_value(value: &RawValue, is_name: bool, levels: u8, found: &mut Found) -> Result<(), Error> {
    let text = value.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    match text.as_bytes() {
        [b'{' | b'[', ..] if levels > 1 => return read_json(text, levels - 1, found),
        // JSON allows a string with half of a surrogate pair. It names no session.
        [b'"', ..] if is_name => {
            let _ = serde_json::from_str::<String>(text).map(|text| found.add(&text));
        }
        _ if is_name && digits.bytes().all(|byte| byte.is_ascii_digit()) => found.add(text),
        _ => {}
    }
    Ok(())
}

/// Visits an object or array without building it in memory.
struct Fields<'a> {
    levels: u8,
    found: &'a mut Found,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value::<&RawValue>()?;
            read_value(value, names_session(&name), self.levels, self.found)
                .map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            read_value(element, false, self.levels, self.found)
                .map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: impl AsRef<[u8]>) -> Vec<String> {
        sessions(body.as_ref()).iter().map(|session| session.as_str().to_owned()).collect()
    }

    #[test]
    fn an_id_is_found_in_json_as_a_number_or_text_with_all_its_digits() {
        for (body, id) in [
            (r#"{"sessionId":250040353,"status":"active"}"#, "250040353"),
            (r#"{"status":"active","sessionId":"250040353"}"#, "250040353"),
            (r#"{"sessionId":9999982253621659654123}"#, "9999982253621659654123"),
            (r#"{"sessionId":-7}"#, "-7"),
            (r#"{"sessionId":"007"}"#, "007"),
            ("\u{feff} \r\n{ \"sessionId\" : \" SS-87555 \" }\n", "SS-87555"),
            (r#"{"sessionId":"\u0053S-1"}"#, "SS-1"),
            (r#"{"customerName":1e999,"sessionId":1}"#, "1"),
            (r#"{"notes":"\ud800","sessionId":1}"#, "1"),
        ] {
            assert_eq!(found(body), [id], "{body}");
        }
        assert_eq!(found(b"{\"customerName\":\"Jos\xe9\",\"sessionId\":1}"), ["1"]);
    }

    #[test]
    fn an_id_is_found_in_a_form_with_percent_encoding() {
        for (body, id) in [
            ("sessionId=250040353&status=active", "250040353"),
            ("status=active&sessionId=250040353\n", "250040353"),
            ("session%49d=SS%2D87555", "SS-87555"),
            ("a&&=&sessionId=a+b%26c", "a b&c"),
            ("customerName=Jos%e9&sessionId=1", "1"),
            ("session[sessionId]=1", "1"),
            ("session%5Bsession_id%5D=1", "1"),
            ("session.sessionId=1", "1"),
            (r#"payload={"sessionId":1}"#, "1"),
            ("payload=%7B%22session%22%3A%7B%22sessionId%22%3A1%7D%7D", "1"),
            (r#"payload={"sessionId":1&sessionId=2"#, "2"),
        ] {
            assert_eq!(found(body), [id], "{body}");
        }
    }

    #[test]
    fn tokens_and_nested_fields_name_a_session_too() {
        for body in [
            r#"{"sessionStartToken":42}"#,
            r#"{"sessionToken":"42"}"#,
            r#"{"token":"42"}"#,
            r#"{"SESSION_ID":"42"}"#,
            r#"{"session-id":"42"}"#,
            r#"{"session":{"sessionId":42}}"#,
            r#"{"data":{"session":{"token":"42"}}}"#,
            r#"[{"sessionId":42}]"#,
            r#"{"sessions":[{"sessionId":42}]}"#,
            r#"{"token":{"sessionId":42}}"#,
            "sessionStartToken=42",
            "sessionToken=42",
            "token=42",
        ] {
            assert_eq!(found(body), ["42"], "{body}");
        }
        let both = r#"{"sessionId":1,"sessionStartToken":"two","session":{"token":"1"}}"#;
        assert_eq!(found(both), ["1", "two"]);
    }

    #[test]
    fn all_values_of_duplicate_fields_count_up_to_a_limit() {
        assert_eq!(found(r#"{"sessionId":1,"sessionId":"2","sessionId":1}"#), ["1", "2"]);
        assert_eq!(found("sessionId=1&sessionId=2&sessionId=1"), ["1", "2"]);
        let many: Vec<_> = (0..1_000).map(|number| format!("sessionId={number}")).collect();
        assert_eq!(found(many.join("&")).len(), MAX_NAMES);
    }

    #[test]
    fn a_body_that_names_no_session_is_unreadable() {
        let long = format!(r#"{{"sessionId":"{}"}}"#, "x".repeat(513));
        for body in [
            "",
            " ",
            "hello",
            "null",
            "42",
            r#""42""#,
            "{}",
            "[]",
            "[42]",
            r#"{"sessionId":1"#,
            r#"{"sessionId":1} {}"#,
            "{'sessionId':1}",
            r#"{"sessionId":null,"token":true,"sessionToken":[1],"sessionStartToken":""}"#,
            r#"{"sessionId":1.5}"#,
            r#"{"sessionId":1e3}"#,
            r#"{"sessionId":"\ud800"}"#,
            r#"{"sessionId":"a\nb"}"#,
            r#"{"sessionId":".."}"#,
            r#"{"id":1,"accountKey":2}"#,
            r#"{"a":{"b":{"c":{"sessionId":1}}}}"#,
            "sessionId=",
            "sessionId",
            "id=1",
            "<session><sessionId>1</sessionId></session>",
            &long,
        ] {
            assert!(found(body).is_empty(), "{body}");
        }
        assert!(found("{".repeat(60_000)).is_empty());
        assert!(found("[".repeat(30_000) + &"]".repeat(30_000)).is_empty());
        assert!(found(b"\xff\xfe{\0}\0").is_empty());
    }
}
