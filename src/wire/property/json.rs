//! A session as JSON again, to compare with the JSON it was read from.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use crate::model::{Collaborator, Fields, Session, Value};

/// JSON as it is written: objects keep the order of their members, and numbers their digits.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

pub const TEXTS: [&str; 17] = [
    "sessionId",
    "sessionType",
    "status",
    "accountKey",
    "expertName",
    "expertEmail",
    "expertUserKey",
    "partnerObject",
    "partnerObjectUrl",
    "unattendedMachineName",
    "unattendedMachineUuid",
    "accountName",
    "customerName",
    "customerEmail",
    "customerJoinUrl",
    "notes",
    "sessionRecordingUrl",
];
/// Those of them that are never absent.
const PLAIN: [&str; 4] = ["sessionId", "sessionType", "status", "accountKey"];
pub const TIMES: [&str; 3] = ["startedAt", "customerJoinedAt", "endedAt"];

/// What of an object is to be found in the session: all but null for a known field; a key, id or
/// text that came as a number as text; numbers no double holds as text.
pub fn expected(object: &[(String, Json)]) -> BTreeMap<String, Json> {
    let mut all = known_fields(object, &[&TEXTS[..], &TIMES, &["collaborators"]].concat(), &TEXTS);
    for name in TIMES {
        if let Some(Json::Number(digits) | Json::Text(digits)) = all.get(name)
            && let Some(time) = since_1970(digits)
        {
            all.insert(name.to_owned(), Json::Text(time.to_string()));
        }
    }
    // No difference in proto3.
    all.retain(|name, json| {
        !(PLAIN.contains(&name.as_str()) && *json == Json::Text(String::new()))
    });
    if let Some(Json::List(elements)) = all.get("collaborators") {
        let elements: Option<Vec<_>> = elements.iter().map(expected_collaborator).collect();
        match elements {
            Some(elements) if elements.is_empty() => drop(all.remove("collaborators")),
            Some(elements) => drop(all.insert("collaborators".to_owned(), Json::List(elements))),
            None => {
                let whole = all.get("collaborators").map(normal);
                all.extend(whole.map(|whole| ("collaborators".to_owned(), whole)));
            }
        }
    }
    all
}

/// The time that a whole number stands for, if it does for one.
fn since_1970(digits: &str) -> Option<Timestamp> {
    let number = digits.parse::<i64>().ok().filter(|number| *number >= 100_000_000)?;
    if number >= 100_000_000_000 {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// Nothing if the list it is in stays as it is.
fn expected_collaborator(json: &Json) -> Option<Json> {
    let members = match json {
        Json::Text(text) if text.contains('@') => vec![("email".to_owned(), json.clone())],
        Json::Text(_) => vec![("name".to_owned(), json.clone())],
        Json::Number(digits) => vec![("userKey".to_owned(), Json::Text(digits.clone()))],
        Json::Object(members) => members.clone(),
        Json::Null | Json::Bool(_) | Json::List(_) => return None,
    };
    let names = ["name", "email", "userKey"];
    let mut all = known_fields(&members, &names, &names);
    all.retain(|name, json| {
        !(names.contains(&name.as_str()) && *json == Json::Text(String::new()))
    });
    Some(Json::Object(all.into_iter().collect()))
}

fn known_fields(
    object: &[(String, Json)],
    names: &[&str],
    texts: &[&str],
) -> BTreeMap<String, Json> {
    let mut all = BTreeMap::new();
    for (name, json) in object {
        let json = match json {
            Json::Null if names.contains(&name.as_str()) => continue,
            Json::Number(digits) if texts.contains(&name.as_str()) => Json::Text(digits.clone()),
            // Numbers in them are looked at one by one.
            Json::List(_) if name == "collaborators" => json.clone(),
            json => normal(json),
        };
        all.insert(name.clone(), json);
    }
    all
}

/// The one form of all that mean the same.
fn normal(json: &Json) -> Json {
    match json {
        Json::Number(digits) => match digits.parse::<f64>() {
            Ok(number) if is_exact(digits, number) => Json::Number(number.to_string()),
            _ => Json::Text(digits.clone()),
        },
        Json::List(elements) => Json::List(elements.iter().map(normal).collect()),
        Json::Object(members) => {
            let members: BTreeMap<_, _> =
                members.iter().map(|(name, json)| (name.clone(), normal(json))).collect();
            Json::Object(members.into_iter().collect())
        }
        Json::Null | Json::Bool(_) | Json::Text(_) => json.clone(),
    }
}

fn is_exact(digits: &str, number: f64) -> bool {
    let is_too_large = number.fract() == 0.0 && number.abs() > 9_007_199_254_740_992.0;
    number.is_finite() && !is_too_large && written_out(digits) == written_out(&number.to_string())
}

/// A number without a power of ten and without needless zeros.
fn written_out(digits: &str) -> String {
    let (mantissa, power) = digits.split_once('e').unwrap_or((digits, "0"));
    let power: isize = power.parse().unwrap();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = "0".repeat(power.unsigned_abs());
    let all = format!("{zeros}{whole}{fraction}{zeros}");
    let point = (zeros.len() + whole.len()).checked_add_signed(power).unwrap();
    let (whole, fraction) = all.split_at(point);
    format!("{sign}{}.{}", whole.trim_start_matches('0'), fraction.trim_end_matches('0'))
}

/// The session as an object again.
pub fn written(session: &Session) -> BTreeMap<String, Json> {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let texts = [
        text(&session.session_id),
        text(&session.session_type),
        text(&session.upstream_status),
        text(&session.account_key),
        session.expert_name.clone(),
        session.expert_email.clone(),
        session.expert_user_key.clone(),
        session.partner_object.clone(),
        session.partner_object_url.clone(),
        session.unattended_machine_name.clone(),
        session.unattended_machine_uuid.clone(),
        session.account_name.clone(),
        session.customer_name.clone(),
        session.customer_email.clone(),
        session.customer_join_url.clone(),
        session.notes.clone(),
        session.session_recording_url.clone(),
    ];
    let times = [session.started_at, session.customer_joined_at, session.ended_at];
    let times = times.map(|time| time.map(|time| time.to_timestamp().to_string()));
    let known = TEXTS.into_iter().zip(texts).chain(TIMES.into_iter().zip(times));
    let known = known.filter_map(|(name, text)| Some((name.to_owned(), Json::Text(text?))));
    let mut all: BTreeMap<_, _> = written_fields(&session.additional_fields).collect();
    all.extend(known);
    if !session.collaborators.is_empty() {
        let collaborators = session.collaborators.iter().map(written_collaborator);
        all.insert("collaborators".to_owned(), Json::List(collaborators.collect()));
    }
    all
}

fn written_collaborator(collaborator: &Collaborator) -> Json {
    let Collaborator { name, email, user_key, additional_fields } = collaborator;
    let known = [("name", name), ("email", email), ("userKey", user_key)].into_iter();
    let known = known.filter(|(_, text)| !text.is_empty());
    let known = known.map(|(name, text)| (name.to_owned(), Json::Text(text.clone())));
    let all: BTreeMap<_, _> = written_fields(additional_fields).chain(known).collect();
    Json::Object(all.into_iter().collect())
}

fn written_fields(fields: &Fields) -> impl Iterator<Item = (String, Json)> {
    fields.iter().map(|(name, value)| (name.clone(), written_value(value)))
}

fn written_value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(answer) => Json::Bool(*answer),
        Value::Number(number) => Json::Number(number.to_string()),
        Value::Text(text) => Json::Text(text.clone()),
        Value::List(values) => Json::List(values.iter().map(written_value).collect()),
        Value::Object(fields) => Json::Object(written_fields(fields).collect()),
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(answer) => write!(f, "{answer}"),
            Json::Number(digits) => f.write_str(digits),
            Json::Text(text) => f.write_str(&serde_json::to_string(text).unwrap()),
            Json::List(elements) => {
                f.write_str("[")?;
                for (place, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if place == 0 { "" } else { " ,\n" })?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (place, (name, value)) in members.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma}{}: {value}", serde_json::to_string(name).unwrap())?;
                }
                f.write_str("}")
            }
        }
    }
}
