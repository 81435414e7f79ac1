//! Properties that hold for every input, each tested with a hundred thousand: nothing that the vendor
//! can send causes a panic, and nothing that it sends in an object is lost.

mod json;

use std::{collections::BTreeMap, fmt};

use fastrand::Rng;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::wire::{error::Kind, session, status, system_link};
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
