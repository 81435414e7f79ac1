//! The bodies of the two REST calls: JSON text in every form of [`Shape`].

use jiff::{SignedDuration, Timestamp, tz::Offset};

use super::life::{Fields, Moment, SessionScript};
use crate::config::simulate::{
    AbsentForm, CollaboratorForm, KeyForm, LinksForm, Shape, StatusForm, TimestampForm,
};

/// A key that fits neither `f64` nor, by much, the habits of JSON libraries.
const ACCOUNT_KEY: &str = "1842200297248054807";

/// The fields that are there only if they apply.
const IF_APPLICABLE: [&str; 14] = [
    "partnerObject",
    "partnerObjectUrl",
    "startedAt",
    "customerJoinedAt",
    "endedAt",
    "unattendedMachineName",
    "unattendedMachineUuid",
    "accountName",
    "customerName",
    "customerEmail",
    "customerJoinUrl",
    "notes",
    "sessionRecordingUrl",
    "collaborators",
];

/// The body of a session at a moment; `put_at` is when its script was put, `count` another number
/// in every answer.
pub(super) fn session(
    script: &SessionScript,
    moment: &Moment,
    shape: Shape,
    put_at: Timestamp,
    count: u64,
) -> String {
    let mut object = Object::default();
    let has_id = script.token.is_none() || moment.status != "notStarted";
    if has_id {
        object.set("sessionId", key(&quoted(&script.id), shape.session_ids));
    }
    object.set("sessionType", quoted("screen_sharing"));
    object.set("status", quoted(&status(&moment.status, shape.statuses)));
    object.set("accountKey", ACCOUNT_KEY.into());
    object.set("expertName", quoted("Erika Expert"));
    object.set("expertEmail", quoted("erika.expert@example.com"));
    object.set("expertUserKey", quoted("9999982253621659654"));
    let times = [
        ("startedAt", moment.started_at),
        ("customerJoinedAt", moment.joined_at),
        ("endedAt", moment.ended_at),
    ];
    let times = times.into_iter().filter_map(|(name, seconds)| Some((name, seconds?)));
    let (names, mut times): (Vec<_>, Vec<_>) = times.unzip();
    if shape.falling_times == Some(true) {
        times.reverse();
    }
    for (name, seconds) in names.into_iter().zip(times) {
        object.set(name, timestamp(put_at, seconds, shape.timestamps));
    }
    if moment.joined_at.is_some() {
        object.set("customerName", quoted("Carl Customer"));
        object.set("customerEmail", quoted("carl.customer@example.com"));
    }
    if moment.ended_at.is_none() {
        let url = format!("https://www.fastsupport.example/?join={}", script.id);
        object.set("customerJoinUrl", quoted(&url));
    }
    if let Some(form) = shape.collaborators {
        object.set("collaborators", collaborators(form));
    }
    for (name, value) in &moment.fields {
        object.set(name, value.get().into());
    }
    for name in ["accountKey", "partnerObject"] {
        object.change(name, |value| key(value, shape.keys));
    }
    object.change("sessionId", |value| key(value, shape.session_ids));
    if shape.new_join_url == Some(true) {
        object.change("customerJoinUrl", |url| match url.strip_suffix('"') {
            Some(begin) => format!("{begin}&t={count}\""),
            None => url.into(),
        });
    }
    object.0.retain(|(name, _)| !script.omit.contains(name));
    if shape.absent == Some(AbsentForm::Null) {
        for name in IF_APPLICABLE {
            if !object.has(name) {
                object.set(name, "null".into());
            }
        }
    }
    if shape.unknown_fields == Some(true) {
        add_unknown_fields(&mut object);
    }
    object.text()
}

/// The body for a list of system links.
pub(super) fn system_links(links: &[Fields], shape: Shape) -> String {
    let objects: Vec<String> = links
        .iter()
        .map(|link| {
            let mut object = Object::default();
            for (name, value) in link {
                object.set(name, value.get().into());
            }
            if shape.unknown_fields == Some(true) {
                add_unknown_fields(&mut object);
            }
            object.text()
        })
        .collect();
    let array = format!("[{}]", objects.join(","));
    match (shape.links, objects.as_slice()) {
        (Some(LinksForm::Wrapped), _) => format!(r#"{{"systemLinks":{array}}}"#),
        (Some(LinksForm::Object), []) => "{}".into(),
        (Some(LinksForm::Object), [only]) => only.clone(),
        (Some(LinksForm::Object | LinksForm::Array) | None, _) => array,
    }
}

/// `text` as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn add_unknown_fields(object: &mut Object) {
    object.set("sessionStartToken", quoted("start-token"));
    object.set("deviceCount", "12345678901234567890".into());
    object.set("survey", r#"{"score":4.5,"answers":["yes",null,true]}"#.into());
}

/// A status such as `notStarted` in other letters.
fn status(status: &str, form: Option<StatusForm>) -> String {
    let mut words = Vec::<String>::new();
    for letter in status.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            Some(_) | None => words.push(letter.to_lowercase().to_string()),
        }
    }
    let capital = |word: &String| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
    };
    let capitals = || words.iter().filter_map(capital).collect::<Vec<_>>();
    match form {
        None => status.into(),
        Some(StatusForm::Pascal) => capitals().concat(),
        Some(StatusForm::UpperSnake) => words.join("_").to_uppercase(),
        Some(StatusForm::Kebab) => words.join("-"),
        Some(StatusForm::Snake) => words.join("_"),
        Some(StatusForm::Upper) => words.concat().to_uppercase(),
        Some(StatusForm::Lower) => words.concat(),
        Some(StatusForm::Spaced) => capitals().join(" "),
    }
}

/// A JSON number or string of digits in the given form; anything else, unchanged.
fn key(value: &str, form: Option<KeyForm>) -> String {
    let digits = value.trim_matches('"');
    let is_key = digits.strip_prefix('-').unwrap_or(digits).bytes().all(|b| b.is_ascii_digit())
        && digits.bytes().any(|byte| byte.is_ascii_digit());
    match form {
        Some(KeyForm::Number) if is_key && !has_leading_zero(digits) => digits.into(),
        Some(KeyForm::String) if is_key => format!("\"{digits}\""),
        Some(KeyForm::Number | KeyForm::String) | None => value.into(),
    }
}

/// JSON knows no number such as `007`.
fn has_leading_zero(digits: &str) -> bool {
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    digits.len() > 1 && digits.starts_with('0')
}

fn collaborators(form: CollaboratorForm) -> String {
    match form {
        CollaboratorForm::Strings => r#"["Tom Technician","tina@example.com"]"#,
        CollaboratorForm::Objects => {
            r#"[{"name":"Tom Technician","email":"tom@example.com","userKey":7004410},{"expertName":"Tina Technician","expertUserKey":"9999982253621659655"}]"#
        }
    }
    .into()
}

fn timestamp(put_at: Timestamp, seconds: f64, form: Option<TimestampForm>) -> String {
    let offset = SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    let time = put_at.saturating_add(offset).unwrap_or(Timestamp::MAX);
    let show = |format: &str| quoted(&time.strftime(format).to_string());
    match form.unwrap_or(TimestampForm::Zulu) {
        TimestampForm::Zulu => show("%Y-%m-%dT%H:%M:%SZ"),
        TimestampForm::Fraction => show("%Y-%m-%dT%H:%M:%S.%6fZ"),
        TimestampForm::Offset => {
            let east = Offset::constant(2).to_datetime(time);
            quoted(&east.strftime("%Y-%m-%dT%H:%M:%S+02:00").to_string())
        }
        TimestampForm::BasicOffset => show("%Y-%m-%dT%H:%M:%S+0000"),
        TimestampForm::Basic => show("%Y%m%dT%H%M%SZ"),
        TimestampForm::Local => show("%Y-%m-%dT%H:%M:%S"),
        TimestampForm::LongFraction => show("%Y-%m-%dT%H:%M:%S.%9f012Z"),
        TimestampForm::SpacedOffset => show("%Y-%m-%dT%H:%M:%S +0000"),
        TimestampForm::EpochSeconds => time.as_second().to_string(),
        TimestampForm::FarFuture => quoted("9999-12-31T23:59:59Z"),
        TimestampForm::EpochMillis => time.as_millisecond().to_string(),
        TimestampForm::Unreadable => quoted("yesterday"),
    }
}

/// A JSON object that keeps the order of its fields, and their text.
#[derive(Default)]
struct Object(Vec<(String, String)>);

impl Object {
    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.into(), value)),
        }
    }

    fn change(&mut self, name: &str, change: impl Fn(&str) -> String) {
        if let Some((_, value)) = self.0.iter_mut().find(|(known, _)| known == name) {
            *value = change(value);
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn text(&self) -> String {
        let fields: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
        format!("{{{}}}", fields.join(","))
    }
}
