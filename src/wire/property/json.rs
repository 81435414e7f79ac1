//! Writes a session as JSON, so that a test can compare it with the JSON that it was read from.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use jiff::Timestamp;

use crate::model::{
    Collaborator, Fields, Session, Value,
    field::{Content, named_fields},
};

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

/// The vendor's names of the fields that hold a text, and of those that are never absent.
pub static TEXTS: LazyLock<String> = LazyLock::new(|| names(|it| matches!(it, Content::Text(_))));
static REQUIRED: LazyLock<String> =
    LazyLock::new(|| names(|it| matches!(it, Content::Text(Some(_)))));
/// The vendor's names of the fields that hold a time.
pub static TIMES: LazyLock<String> = LazyLock::new(|| names(|it| matches!(it, Content::Time(_))));
const COLLABORATOR: &str = "name|email|userKey";

fn names(is_wanted: fn(&Content<'_>) -> bool) -> String {
    let session = Session::default();
    let wanted = named_fields(&session).into_iter().filter(|(_, content)| is_wanted(content));
    wanted.map(|(name, _)| vendor_name(name)).collect::<Vec<_>>().join("|")
}

/// The vendor's name for a field of `session.proto`.
fn vendor_name(name: &str) -> String {
    if name == "upstream_status" {
        return "status".to_owned();
    }
    let capitalised = |word: &str| word[..1].to_uppercase() + &word[1..];
    let (first, rest) = name.split_once('_').unwrap_or((name, ""));
    let rest = rest.split('_').filter(|word| !word.is_empty()).map(capitalised);
    first.to_owned() + &rest.collect::<String>()
}

fn is_in(names: &str, name: &str) -> bool {
    names.split('|').any(|known| known == name)
}

/// The fields that a session must have after it was read from this object. These are all fields
/// except known ones that are null. A key, id or text that was sent as a number becomes a text. So
/// does a number that no double holds exactly.
pub fn expected(object: &[(String, Json)]) -> BTreeMap<String, Json> {
    let mut all = known_fields(object, &[&TEXTS, &TIMES, "collaborators"].join("|"), &TEXTS);
    // The digits count as they were sent: `1e9` is a number, and no time.
    for (name, json) in object {
        if is_in(&TIMES, name)
            && let Json::Number(digits) | Json::Text(digits) = json
            && let Some(time) = since_1970(digits)
        {
            all.insert(name.clone(), Json::Text(time.to_string()));
        }
    }
    // In proto3, empty and absent are the same.
    all.retain(|name, json| !is_in(&REQUIRED, name) || !is_empty(json));
    if let Some(Json::List(elements)) = all.get("collaborators") {
        let read: Option<Vec<_>> = elements.iter().map(expected_collaborator).collect();
        let list = read.map_or_else(|| normal(&Json::List(elements.clone())), Json::List);
        all.insert("collaborators".to_owned(), list);
        all.retain(|name, json| name != "collaborators" || *json != Json::List(Vec::new()));
    }
    all
}

fn is_empty(json: &Json) -> bool {
    *json == Json::Text(String::new())
}

/// The time that a whole number means, if it means one.
fn since_1970(digits: &str) -> Option<Timestamp> {
    let number = digits.parse::<i64>().ok().filter(|number| *number >= 100_000_000)?;
    if number >= 100_000_000_000 {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// The fields that a collaborator must have. `None` if the list must stay as it is.
fn expected_collaborator(json: &Json) -> Option<Json> {
    let fields = match json {
        Json::Text(text) if text.contains('@') => vec![("email".to_owned(), json.clone())],
        Json::Text(_) => vec![("name".to_owned(), json.clone())],
        Json::Number(digits) => vec![("userKey".to_owned(), Json::Text(digits.clone()))],
        Json::Object(fields) => fields.clone(),
        Json::Null | Json::Bool(_) | Json::List(_) => return None,
    };
    let mut all = known_fields(&fields, COLLABORATOR, COLLABORATOR);
    all.retain(|name, json| !is_in(COLLABORATOR, name) || !is_empty(json));
    Some(Json::Object(all.into_iter().collect()))
}

fn known_fields(object: &[(String, Json)], names: &str, texts: &str) -> BTreeMap<String, Json> {
    let known = object.iter().filter(|(name, json)| *json != Json::Null || !is_in(names, name));
    let read = |(name, json): &(String, Json)| {
        let json = match json {
            Json::Number(digits) if is_in(texts, name) => Json::Text(digits.clone()),
            // The caller handles the elements one by one.
            Json::List(_) if name == "collaborators" => json.clone(),
            json => normal(json),
        };
        (name.clone(), json)
    };
    known.map(read).collect()
}

/// Gives all values with the same meaning the same form.
fn normal(json: &Json) -> Json {
    match json {
        Json::Number(digits) => match digits.parse::<f64>() {
            Ok(number) if is_exact(digits, number) => Json::Number(number.to_string()),
            _ => Json::Text(digits.clone()),
        },
        Json::List(elements) => Json::List(elements.iter().map(normal).collect()),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, json)| (name.clone(), normal(json)));
            Json::Object(fields.collect::<BTreeMap<_, _>>().into_iter().collect())
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

/// The fields of a session under the vendor's names.
pub fn written(session: &Session) -> BTreeMap<String, Json> {
    let mut all: BTreeMap<_, _> = written_fields(&session.additional_fields).collect();
    for (name, content) in named_fields(session) {
        let name = vendor_name(name);
        let json = match content {
            Content::Text(Some(text)) if !text.is_empty() || !is_in(&REQUIRED, &name) => {
                Json::Text(text.to_owned())
            }
            Content::Time(Some(time)) => Json::Text(time.to_timestamp().to_string()),
            Content::Collaborators(collaborators) if !collaborators.is_empty() => {
                Json::List(collaborators.iter().map(written_collaborator).collect())
            }
            Content::Text(_)
            | Content::Time(None)
            | Content::Collaborators(_)
            | Content::Number(_)
            | Content::Fields(_) => continue,
        };
        all.insert(name, json);
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
        let quoted = |text: &String| serde_json::to_string(text).unwrap();
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(answer) => write!(f, "{answer}"),
            Json::Number(digits) => f.write_str(digits),
            Json::Text(text) => f.write_str(&quoted(text)),
            Json::List(elements) => {
                let elements: Vec<_> = elements.iter().map(Json::to_string).collect();
                write!(f, "[{}]", elements.join(" ,\n"))
            }
            Json::Object(fields) => {
                let field = |(name, value): &(String, Json)| format!("{}: {value}", quoted(name));
                let fields: Vec<_> = fields.iter().map(field).collect();
                write!(f, "{{{}}}", fields.join(","))
            }
        }
    }
}
