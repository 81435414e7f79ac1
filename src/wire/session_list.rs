//! The JSON of the list of sessions, which may have megabytes. It is read as it arrives, one session
//! at a time.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    mem,
};

use serde::de::IgnoredAny;

use crate::{
    model::ListedSession,
    wire::{
        decode::{BodyReader, Decode},
        invalid_body::InvalidBody,
        json::{ListParser, Part},
        session::decode_listed,
    },
};

/// The most arrays in one object.
const MAX_ARRAYS: usize = 16;

/// What was read of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSummary {
    /// How many sessions the vendor says there are, if it says so.
    pub total: Option<u64>,
    /// The sessions that were read, each counted once.
    pub sessions: usize,
    /// The elements that are no session, or longer than 1 MiB. They were skipped.
    pub unreadable: usize,
    /// The answers that the list was read from.
    pub pages: u32,
    /// The length of the answers in bytes, after decompression.
    pub bytes: usize,
}

impl ListSummary {
    /// Whether the vendor says that there are more sessions than were read.
    pub(crate) fn lacks_some(&self) -> bool {
        let elements = u64::try_from(self.sessions + self.unreadable).unwrap_or(u64::MAX);
        self.total.is_some_and(|total| total > elements)
    }
}

/// Reads the pages of a list. Passes each session to `keep`, once, even if the vendor sends it twice.
///
/// Sessions are passed on before it is known whether the rest of the list can be read. If it cannot,
/// whoever keeps them must discard them.
pub(crate) struct ListReader<K> {
    keep: K,
    /// Hashes of the sessions that were passed on.
    seen: HashSet<u64>,
    hasher: RandomState,
    page: Page,
    summary: ListSummary,
}

/// The page that is being read.
#[derive(Default)]
struct Page {
    parser: ListParser,
    members: Members,
    arrays: Vec<Array>,
    bytes: usize,
    /// The sessions that no earlier page had.
    new: usize,
    invalid: Option<InvalidBody>,
}

/// What the members of the object say that are no arrays.
#[derive(Default)]
struct Members {
    total: Option<u64>,
    has_error_code: bool,
    has_message: bool,
    /// Whether the object is something else than a list: it has an id, or its `sessions` are no array.
    is_no_list: bool,
}

/// An array of the object, or the array that is the whole text.
struct Array {
    /// Whether it must be the list.
    is_named: bool,
    sessions: usize,
    unreadable: usize,
}

impl<K: FnMut(ListedSession) + Send> ListReader<K> {
    pub fn new(keep: K) -> Self {
        Self {
            keep,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            page: Page::default(),
            summary: ListSummary::default(),
        }
    }

    /// What was read so far.
    pub fn summary(&self) -> ListSummary {
        self.summary
    }
}

impl<K: FnMut(ListedSession) + Send> BodyReader for ListReader<K> {
    fn begin(&mut self) {
        self.page = Page::default();
    }

    fn read(&mut self, piece: &[u8]) -> bool {
        let Self { keep, seen, hasher, page, .. } = self;
        let Page { parser, members, arrays, bytes, new, invalid } = page;
        *bytes += piece.len();
        let mut refusal = None;
        let parsed = parser.parse(piece, |part| match part {
            Part::Member(name, value) => {
                if let Err(why) = members.note(name, value) {
                    refusal = Some(why);
                }
            }
            Part::Array(name) => {
                if arrays.len() == MAX_ARRAYS {
                    refusal = Some(InvalidBody::WrongShape);
                } else {
                    let is_named = name.is_none_or(|name| name == b"sessions");
                    arrays.push(Array { is_named, sessions: 0, unreadable: 0 });
                }
            }
            Part::Element(element) => {
                let Some(array) = arrays.last_mut() else { return };
                let listed = element.ok_or(InvalidBody::TooLong).and_then(decode_listed);
                let Ok(listed) = listed else {
                    array.unreadable += 1;
                    return;
                };
                array.sessions += 1;
                let key = match (&*listed.session.session_id, &listed.start_token) {
                    ("", None) => hasher.hash_one((2, element)),
                    ("", Some(token)) => hasher.hash_one((1, token)),
                    (id, _) => hasher.hash_one((0, id)),
                };
                if seen.insert(key) {
                    *new += 1;
                    keep(listed);
                }
            }
        });
        *invalid = parsed.err().or(refusal);
        invalid.is_none()
    }
}

/// Gives the number of new sessions.
impl<K: FnMut(ListedSession) + Send> Decode<usize> for ListReader<K> {
    fn body_reader(&mut self) -> Option<&mut dyn BodyReader> {
        Some(self)
    }

    fn decode(&mut self, _beginning: &[u8]) -> Result<usize, InvalidBody> {
        let page = mem::take(&mut self.page);
        if let Some(invalid) = page.invalid {
            return Err(invalid);
        }
        page.parser.end()?;
        let unreadable = unreadable(&page.members, &page.arrays)?;
        self.summary.total = page.members.total.or(self.summary.total);
        self.summary.sessions += page.new;
        self.summary.unreadable += unreadable;
        self.summary.pages += 1;
        self.summary.bytes += page.bytes;
        Ok(page.new)
    }
}

impl Members {
    fn note(&mut self, name: &[u8], value: Option<&[u8]>) -> Result<(), InvalidBody> {
        let value = value.unwrap_or(b"\"\"");
        serde_json::from_slice::<IgnoredAny>(value).map_err(|_| InvalidBody::NotJson)?;
        if value == b"null" {
            return Ok(());
        }
        match name {
            b"totalNumSessions" => {
                let digits = std::str::from_utf8(value).unwrap_or_default().trim_matches('"');
                self.total = digits.parse().ok();
            }
            b"sessions" | b"sessionId" => self.is_no_list = true,
            b"int_err_code" | b"errorCode" => self.has_error_code = true,
            b"message" | b"msg" | b"error" => self.has_message = true,
            _ => {}
        }
        Ok(())
    }
}

/// Finds the array that is the list: the one that is named so, or the only one with sessions in it.
/// Returns how many of its elements are no session.
fn unreadable(members: &Members, arrays: &[Array]) -> Result<usize, InvalidBody> {
    let mut with_sessions = arrays.iter().filter(|array| array.sessions > 0);
    let mut named = arrays.iter().filter(|array| array.is_named);
    let (list, other) = (with_sessions.next(), with_sessions.next());
    let (named, other_named) = (named.next(), named.next());
    let wrong_shape = Err(InvalidBody::WrongShape);
    if members.is_no_list || other.is_some() || other_named.is_some() {
        return wrong_shape;
    }
    match (list, named) {
        (Some(list), Some(_)) if !list.is_named => wrong_shape,
        (Some(list), _) => Ok(list.unreadable),
        (None, _) if members.has_error_code => Err(InvalidBody::ErrorObject),
        (None, Some(list)) if list.unreadable == 0 => Ok(0),
        (None, Some(_)) => wrong_shape,
        (None, None) if members.total == Some(0) => Ok(0),
        (None, None) if members.has_message => Err(InvalidBody::ErrorObject),
        (None, None) => match arrays {
            [Array { unreadable: 0, .. }] => Ok(0),
            _ => wrong_shape,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// The ids or start tokens of the sessions in a list that comes in pieces of this length.
    fn read(json: &str, length: usize) -> Result<(Vec<String>, ListSummary), InvalidBody> {
        let (keep, kept) = mpsc::channel();
        let mut reader = ListReader::new(|listed: ListedSession| {
            let id = Some(listed.session.session_id).filter(|id| !id.is_empty());
            keep.send(id.or(listed.start_token).unwrap_or_default()).unwrap();
        });
        reader.begin();
        let _ = json.as_bytes().chunks(length).all(|piece| reader.read(piece));
        reader.decode(b"")?;
        Ok((kept.try_iter().collect(), reader.summary()))
    }

    fn ids(json: &str) -> Result<String, InvalidBody> {
        let whole = read(json, json.len().max(1));
        for length in [1, 2, 3, 7] {
            assert_eq!(read(json, length), whole, "{json} in pieces of {length}");
        }
        whole.map(|(ids, _)| ids.join(" "))
    }

    #[test]
    fn a_list_is_accepted_in_every_shape() {
        for json in [
            r#"{"totalNumSessions":2,"sessions":[{"sessionId":1},{"sessionId":"2"}]}"#,
            r#"[{"sessionId":1},{"sessionId":2}]"#,
            r#"{"items":[{"sessionId":1,"x":[{"sessionId":3}]},{"sessionId":2}],"next":null}"#,
            " { \"sessions\" : [ {\"sessionId\":1,\"notes\":\"]}\\\"\"}\n,{\"sessionId\":2} ] } ",
            r#"{"warnings":[{"text":"x"}],"sessi\u006fns":[{"sessionId":1},{"sessionId":2}]}"#,
            r#"{"sessions":[{"sessionId":1},{"sessionId":2},{"sessionId":1}],"message":"fine"}"#,
            r#"{"sessions":[{"sessionStartToken":1},{"sessionStartToken":"2","sessionId":null}]}"#,
            r#"[null,7,"text",[],{},{"sessionId":1},{"errorCode":"E"},{"sessionId":2}]"#,
            "\u{feff}[{\"sessionId\":1},{\"sessionId\":2}]",
        ] {
            assert_eq!(ids(json).as_deref(), Ok("1 2"), "{json}");
        }
        for json in [
            "[]",
            r#"{"totalNumSessions":0,"sessions":[]}"#,
            r#"{"totalNumSessions":"0","sessions":null}"#,
            r#"{"totalNumSessions":0}"#,
            r#"{"items":[]}"#,
        ] {
            assert_eq!(ids(json).as_deref(), Ok(""), "{json}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use InvalidBody::{Empty, ErrorObject, NotJson, WrongShape};

        for (json, expected) in [
            ("", Empty),
            (" \n", Empty),
            ("{}", WrongShape),
            ("null", WrongShape),
            ("17", WrongShape),
            (r#""text""#, WrongShape),
            ("<html><body>[]</body></html>", NotJson),
            (r#"{"errorCode":"E","message":"m"}"#, ErrorObject),
            (r#"{"message":"maintenance"}"#, ErrorObject),
            (r#"{"int_err_code":"InvalidToken","sessions":[]}"#, ErrorObject),
            (r#"{"sessionId":1,"status":"active"}"#, WrongShape),
            (r#"{"sessionId":1,"status":"active","collaborators":[]}"#, WrongShape),
            (r#"{"sessions":{"sessionId":1}}"#, WrongShape),
            (r#"{"sessions":null}"#, WrongShape),
            (r#"{"totalNumSessions":3}"#, WrongShape),
            (r#"["a","b"]"#, WrongShape),
            ("[garbage]", NotJson),
            ("[nonsense]", WrongShape),
            (r#"{"a":[],"b":[]}"#, WrongShape),
            (r#"{"a":[{"sessionId":1}],"b":[{"sessionId":2}]}"#, WrongShape),
            (r#"{"a":[{"sessionId":1}],"sessions":[{"sessionId":2}]}"#, WrongShape),
            (r#"{"data":{"sessions":[{"sessionId":1}]}}"#, WrongShape),
            (r#"{"sessions":[{"sessionId":1}]"#, NotJson),
            (r#"{"sessions":[{"sessionId":1}"#, NotJson),
            (r#"[{"sessionId":1}]]"#, NotJson),
            (r#"[{"sessionId":1}]{}"#, NotJson),
            (r#"[{"sessionId":1},]"#, NotJson),
            (r#"[{"sessionId":1} {"sessionId":2}]"#, NotJson),
            (r#"{"a":tru,"sessions":[]}"#, NotJson),
            (r#"{"sessions":[],}"#, NotJson),
            (r#"{"sessions"[]}"#, NotJson),
            (r"{sessions:[]}", NotJson),
        ] {
            assert_eq!(ids(json), Err(expected), "{json}");
        }
    }

    #[test]
    fn an_element_that_cannot_be_read_is_skipped_and_counted() {
        let long = format!(r#"{{"sessionId":1,"notes":"{}"}}"#, "x".repeat(1024 * 1024));
        let json = format!(r#"[{{"sessionId":1}},{long},{{"a":[}}}},{{"sessionId":2}}]"#);
        for length in [4096, json.len()] {
            let (ids, summary) = read(&json, length).unwrap();
            assert_eq!((ids.join(" ").as_str(), summary.unreadable), ("1 2", 2));
            assert_eq!((summary.sessions, summary.bytes), (2, json.len()));
        }
    }

    #[test]
    fn the_sessions_of_the_next_page_are_added_and_none_comes_twice() {
        let (keep, kept) = mpsc::channel();
        let mut reader =
            ListReader::new(|listed: ListedSession| keep.send(listed.session.session_id).unwrap());
        let mut page = |json: &str| {
            reader.begin();
            reader.read(json.as_bytes());
            let new = reader.decode(b"").unwrap();
            (new, reader.summary().lacks_some())
        };
        let first = r#"{"totalNumSessions":3,"sessions":[{"sessionId":1},{"sessionId":2}]}"#;
        assert_eq!(page(first), (2, true));
        assert_eq!(page(first), (0, true));
        let second = r#"{"totalNumSessions":3,"sessions":[{"sessionId":2},{"sessionId":3}]}"#;
        assert_eq!(page(second), (1, false));
        assert_eq!(kept.try_iter().collect::<String>(), "123");
    }
}
