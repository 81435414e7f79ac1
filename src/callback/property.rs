//! Tests properties of callbacks with 100,000 random bodies each. No body causes a panic, and no
//! body names too many or too long sessions.

use fastrand::Rng;
use proptest::prelude::*;

use super::body::{MAX_NAMES, sessions};
use crate::model::ARGUMENT_LIMIT;

const CASES: u32 = 100_000;

/// Pieces of JSON, of forms and of other texts. They are separated by blanks.
const PIECES: &str = r#"{ } [ ] : , " \ \u d800 null true - 0 1e 9999982253621659654123 .5 & = % %5B
%22 %7b %zz + sessionId "sessionId": sessionToken= session[token]= token "token":"a" payload={
status active é "#;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn any_body_names_few_short_sessions_or_none(seed in any::<u64>().no_shrink()) {
        let found = sessions(&any_body(&mut Rng::with_seed(seed)));
        prop_assert!(found.len() <= MAX_NAMES);
        for session in &found {
            prop_assert!(session.as_str().len() <= ARGUMENT_LIMIT);
            prop_assert!(!session.as_str().contains(char::is_control));
        }
    }

    #[test]
    fn a_session_is_found_in_any_form_and_place(seed in any::<u64>().no_shrink()) {
        let mut random = Rng::with_seed(seed);
        let id = (random.i128(..) >> random.u8(..128)).to_string();
        let body = naming(&mut random, &id);
        let found = sessions(body.as_bytes());
        prop_assert!(found.iter().any(|session| session.as_str() == id), "{}", body);
    }
}

/// Any bytes, or pieces that look like a body.
fn any_body(random: &mut Rng) -> Vec<u8> {
    let pieces: Vec<_> = PIECES.split_whitespace().collect();
    match random.u8(..3) {
        0 => (0..random.usize(..64)).map(|_| random.u8(..)).collect(),
        1 => (0..random.usize(..24))
            .flat_map(|_| pieces[random.usize(..pieces.len())].bytes())
            .collect(),
        _ => {
            let mut body = naming(random, "250040353").into_bytes();
            let start = random.usize(..body.len());
            let end = random.usize(start..body.len().min(start + 4));
            body.splice(start..end, pieces[random.usize(..pieces.len())].bytes());
            body
        }
    }
}

/// A body that names the session, as JSON or a form, among other fields in any order.
fn naming(random: &mut Rng, id: &str) -> String {
    let names = ["sessionId", "sessionStartToken", "sessionToken", "token"];
    let name = names[random.usize(..names.len())];
    let is_json = random.bool();
    let field = match (is_json, random.bool()) {
        (true, true) => format!(r#""{name}":{id}"#),
        (true, false) => format!(r#""{name}" : "{id}""#),
        (false, true) => format!("{name}={id}"),
        (false, false) => format!("session%5B{name}%5D={}", id.replace('-', "%2D")),
    };
    let others = if is_json {
        [r#""status":"active""#, r#""notes":"{&=\"""#, r#""a":[{"b":[[]]}]"#, r#""c":1e999"#]
    } else {
        ["status=active", "notes=%7B%26%3D%22", "a", "=%zz"]
    };
    let mut fields: Vec<_> =
        (0..random.usize(..4)).map(|_| others[random.usize(..others.len())].to_owned()).collect();
    fields.insert(random.usize(..=fields.len()), field);
    if !is_json {
        return fields.join("&");
    }
    let object = format!("{{{}}}", fields.join(",\n"));
    match random.u8(..4) {
        0 => object,
        1 => format!(r#"{{"session":{object}}}"#),
        2 => format!("[{object}]"),
        _ => format!(r#"{{"x":null,"sessions":[{object}]}}"#),
    }
}
