//! Properties that hold for every input, each tested with a hundred thousand, or ten thousand lists:
//! nothing that the vendor can send causes a panic, and nothing that it sends in an object is lost.
//! With `PROPTEST_CASES=100000` there are as many lists.

mod json;

use std::{collections::BTreeMap, fmt, sync::mpsc};

use fastrand::Rng;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use proptest::prelude::*;
use serde::de::IgnoredAny;

use crate::{
    model::ListedSession,
    wire::{
        InvalidBody, ListSummary,
        decode::{BodyReader as _, Decode as _},
        error::Kind,
        session,
        session_list::ListReader,
        status, system_link,
    },
};
use json::{Json, TEXTS, TIMES, expected, written};

const CASES: u32 = 100_000;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn any_bytes_are_a_session_or_malformed(body in made(bytes)) {
        // The test is that there is no panic.
        let _ = session::decode(&body);
        let _ = system_link::decode(&body);
    }

    #[test]
    fn no_field_of_any_object_is_lost(object in made(object)) {
        let session = session::decode(Json::Object(object.clone()).to_string().as_bytes());
        prop_assert_eq!(written(&session.unwrap()), expected(&object));
    }

    #[test]
    fn any_refusal_has_a_kind_and_shows_nothing_but_codes(
        code in 300..1000u16, header in made(retry_after), body in made(bytes),
    ) {
        let status = StatusCode::from_u16(code).unwrap();
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&header) {
            headers.insert("x-request-id", value.clone());
            headers.insert(header::RETRY_AFTER, value);
        }
        let error = status::error(status, &headers, &body, Timestamp::UNIX_EPOCH);
        prop_assert_eq!(error.http_status, Some(code));
        prop_assert_eq!(error.kind == Kind::Redirect, code < 400);
        for shown in [&error.upstream_code, &error.request_id].into_iter().flatten() {
            prop_assert!(shown.len() <= 64, "{}", shown);
            prop_assert!(!shown.contains(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c)));
        }
    }

    #[test]
    fn any_retry_after_is_an_hour_at_most(value in made(retry_after)) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(header::RETRY_AFTER, value);
        }
        let error = status::error(StatusCode::TOO_MANY_REQUESTS, &headers, b"", Timestamp::UNIX_EPOCH);
        prop_assert!(error.retry_after.is_none_or(|wait| wait.as_secs() <= 3600));
        if let Ok(seconds) = value.parse::<u64>() && !value.starts_with('+') {
            prop_assert_eq!(error.retry_after.map(|wait| wait.as_secs()), Some(seconds.min(3600)));
        }
    }
}

// A list takes ten times as long as a session.
proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(ProptestConfig::default().cases.max(CASES / 10))
    })]

    #[test]
    fn any_bytes_are_a_list_or_malformed_in_whatever_pieces(
        body in made(list), pieces in prop::array::uniform2(1..40_usize),
    ) {
        let [one, other] = pieces.map(|length| read_list(&body, length));
        prop_assert_eq!(&one, &other);
        if let Ok((sessions, summary)) = one {
            prop_assert_eq!(sessions.len(), summary.sessions);
            // A line break in a name is accepted too.
            let body: Vec<_> = body.into_iter().filter(|byte| *byte != b'\n').collect();
            let is_json = serde_json::from_slice::<IgnoredAny>(&body).is_ok();
            prop_assert!(is_json || summary.unreadable > 0 || body.starts_with(b"\xef"));
        }
    }

    #[test]
    fn no_session_of_a_list_is_lost(objects in made(objects)) {
        let elements = objects.iter().map(|object| Json::Object(object.clone()));
        let body = Json::Object(vec![("sessions".to_owned(), Json::List(elements.collect()))]);
        let (sessions, summary) = read_list(body.to_string().as_bytes(), 7).unwrap();
        prop_assert_eq!((sessions.len(), summary.unreadable), (objects.len(), 0));
        for (listed, object) in sessions.iter().zip(&objects) {
            prop_assert_eq!(written(&listed.session), expected(object));
        }
    }
}

/// What is read of a list that comes in pieces of this length.
fn read_list(body: &[u8], length: usize) -> Result<(Vec<ListedSession>, ListSummary), InvalidBody> {
    let (keep, kept) = mpsc::channel();
    let mut reader = ListReader::new(|listed| keep.send(listed).unwrap());
    reader.begin();
    let _ = body.chunks(length).all(|piece| reader.read(piece));
    reader.decode(b"")?;
    Ok((kept.try_iter().collect(), reader.summary()))
}

/// Values made from a seed. Proptest's own strategies take a hundred times as long for each case. The
/// values are small anyway, so nothing needs to be shrunk.
fn made<T: fmt::Debug>(make: fn(&mut Rng) -> T) -> impl Strategy<Value = T> {
    any::<u64>().no_shrink().prop_map(move |seed| make(&mut Rng::with_seed(seed)))
}

fn several<T>(random: &mut Rng, limit: usize, make: impl Fn(&mut Rng) -> T) -> Vec<T> {
    (0..random.usize(..limit)).map(|_| make(random)).collect()
}

/// One of the choices, which are separated by `|`.
fn one_of<'a>(random: &mut Rng, choices: &'a str) -> &'a str {
    let choices: Vec<_> = choices.split('|').collect();
    choices[random.usize(..choices.len())]
}

/// Any bytes, bytes that look like JSON, or an object with a few bytes changed.
fn bytes(random: &mut Rng) -> Vec<u8> {
    const TOKENS: &str = r#"{|}|[|]|:|,| |"|\|\u|d800|null|true|-|0|1e|9999982253621659654|.5|"status"|"startedAt"|
"collaborators"|"a"|"errorCode"|"2021-04-30T06:00:00Z"|"callbackURL"|﻿"#;
    match random.u8(..3) {
        0 => several(random, 32, |random| random.u8(..)),
        1 => several(random, 16, |random| one_of(random, TOKENS)).concat().into_bytes(),
        _ => {
            let whole = br#"{"sessionId":1,"status":"active","startedAt":"2021-04-30T06:00Z"}"#;
            let mut whole = whole.to_vec();
            let start = random.usize(..whole.len());
            let end = random.usize(start..whole.len().min(start + 4));
            whole.splice(start..end, one_of(random, TOKENS).bytes());
            whole
        }
    }
}

/// Any bytes, or a list with some bytes changed.
fn list(random: &mut Rng) -> Vec<u8> {
    const TOKENS: &str = r#"{|}|[|]|:|,| |"|\|null|-|0|"sessions":|"a":[{"sessionId":1}],|"sessionId"|
"totalNumSessions":7,|"sessions":[]|"errorCode":"E",|\"|﻿|{}|[]|"x",|17,|{"status":"active"},"#;
    if random.u8(..8) == 0 {
        return bytes(random);
    }
    let whole = br#"{"totalNumSessions":3,"sessions":[{"sessionId":1,"notes":"]}\"\\"},
        {"sessionId":"2","more":[{"a":[]}]},{"sessionStartToken":3,"status":"notStarted"}],"next":null}"#;
    let mut whole = whole.to_vec();
    for _ in 0..random.usize(..3) {
        let start = random.usize(..whole.len());
        let end = random.usize(start..whole.len().min(start + 12));
        whole.splice(start..end, one_of(random, TOKENS).bytes());
    }
    if random.u8(..4) == 0 {
        whole.truncate(random.usize(..whole.len()));
    }
    whole
}

/// Sessions with distinct ids.
fn objects(random: &mut Rng) -> Vec<Vec<(String, Json)>> {
    let objects = several(random, 4, object);
    let with_id = |(number, mut object): (usize, Vec<(String, Json)>)| {
        object.retain(|(name, _)| name != "sessionId");
        object.push(("sessionId".to_owned(), Json::Number(number.to_string())));
        object.push(("status".to_owned(), Json::Text("active".to_owned())));
        object.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
    };
    objects.into_iter().enumerate().map(with_id).collect()
}

fn retry_after(random: &mut Rng) -> String {
    let number = |random: &mut Rng| (random.u128(..) >> random.u8(40..128)).to_string();
    match random.u8(..3) {
        0 => number(random),
        1 => several(random, 30, |random| char::from(random.u8(b' '..=b'~'))).into_iter().collect(),
        _ => {
            let day = one_of(random, "Mon, |Tue, |Sunday, |Thu ");
            let month = one_of(random, " Jan |-Dec-| Foo ");
            let (date, year) = (random.u8(..40), number(random));
            let (hour, minute) = (random.u8(..30), random.u8(..70));
            format!("{day}{date:02}{month}{year} {hour:02}:{minute:02}:00 GMT")
        }
    }
}

/// The fields of an object, known ones and others, with distinct names.
fn object(random: &mut Rng) -> Vec<(String, Json)> {
    const OTHERS: &str = r#"sessionStartToken|Status||x"y\z"#;
    let fields = several(random, 6, |random| {
        let name = match random.u8(..8) {
            0 => "collaborators",
            1 => one_of(random, OTHERS),
            2 => one_of(random, &TIMES),
            _ => one_of(random, &TEXTS),
        };
        (name.to_owned(), json(random, 4))
    });
    fields.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn json(random: &mut Rng, levels: u8) -> Json {
    match random.u8(..if levels > 0 { 10 } else { 8 }) {
        0 => Json::Null,
        1 => Json::Bool(random.bool()),
        2 | 3 => Json::Number((random.i128(..) >> random.u8(..100)).to_string()),
        4 => {
            let (whole, fraction, power) = (random.i32(..), random.u32(..), random.i16(-400..400));
            Json::Number(format!("{whole}.{fraction}e{power}"))
        }
        5 => Json::Number(format!("{}.{:02}", random.i16(..), random.u8(..100))),
        6 => {
            let time = Timestamp::new(random.i64(0..4_000_000_000), random.i32(0..1_000_000_000));
            Json::Text(time.unwrap().to_string())
        }
        7 => Json::Text(several(random, 6, |random| random.char(..)).into_iter().collect()),
        8 => Json::List(several(random, 3, |random| json(random, levels - 1))),
        _ => {
            let fields = several(random, 4, |random| {
                let name = one_of(random, "name|email|userKey|a|b");
                (name.to_owned(), json(random, levels - 1))
            });
            Json::Object(fields.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
        }
    }
}
