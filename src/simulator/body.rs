//! The bodies of the REST calls: JSON text in every form of [`Shape`].

use jiff::{SignedDuration, Timestamp, tz::Offset};
use url::form_urlencoded;

use super::{
    answer::quoted,
    life::{Fields, Moment, SessionScript},
};
use crate::config::simulate::{
    AbsentForm, CallbackIds, CollaboratorForm, FieldOrder, KeyForm, LinksForm, Shape, StatusForm,
    TimestampForm,
};

/// The fields of a JSON object in the vendor's order. The order matters to a client that reads half
/// of a body. The values are JSON text, so that a number keeps all of its digits.
#[derive(Default)]
pub(super) struct Object(Vec<(String, String)>);

/// The fields that a session has only if they apply to it.
const IF_APPLICABLE: &str = "partnerObject partnerObjectUrl startedAt customerJoinedAt endedAt \
    unattendedMachineName unattendedMachineUuid accountName customerName customerEmail \
    customerJoinUrl notes sessionRecordingUrl collaborators";

/// The fields of an element of the list, in the documented order.
const LISTED: [&str; 17] = [
    "sessionStartToken",
    "customerJoinUrl",
    "sessionId",
    "sessionType",
    "partnerObject",
    "partnerObjectUrl",
    "status",
    "startedAt",
    "customerJoinedAt",
    "endedAt",
    "expertName",
    "expertEmail",
    "expertUserKey",
    "customerName",
    "customerEmail",
    "accountKey",
    "sessionRecordingUrl",
];

/// The fields that identify the session of an element of the list.
const IDENTITY: [&str; 3] = ["sessionStartToken", "customerJoinUrl", "sessionId"];

/// The JSON object of a session at a moment. `put_at` is the time when its script was added.
/// `count` is a number that differs in every answer.
pub(super) fn session(
    script: &SessionScript,
    moment: &Moment,
    shape: Shape,
    put_at: Timestamp,
    count: u64,
) -> Object {
    let mut object = Object::default();
    let mut set = |name: &str, value: String| object.set(name, value);
    if script.has_id(&moment.status) {
        set("sessionId", quoted(&script.id));
    }
    set("sessionType", quoted("screen_sharing"));
    set("status", quoted(&status(&moment.status, shape.statuses)));
    // An f64 cannot hold this key exactly.
    set("accountKey", "1842200297248054807".into());
    set("expertName", quoted("Erika Expert"));
    set("expertEmail", quoted("erika.expert@example.com"));
    set("expertUserKey", quoted("9999982253621659654"));
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
        set(name, timestamp(put_at, seconds, shape.timestamps));
    }
    if moment.joined_at.is_some() {
        set("customerName", quoted("Carl Customer"));
        set("customerEmail", quoted("carl.customer@example.com"));
    }
    if moment.ended_at.is_none() {
        let url = format!("https://www.fastsupport.example/?join={}", script.id);
        set("customerJoinUrl", quoted(&url));
    }
    if let Some(form) = shape.collaborators {
        set("collaborators", collaborators(form).into());
    }
    object.set_all(&moment.fields);
    for (name, value) in &mut object.0 {
        match name.as_str() {
            "accountKey" | "partnerObject" => *value = key(value, shape.keys),
            "sessionId" => *value = key(value, shape.session_ids),
            "customerJoinUrl" if shape.new_join_url == Some(true) => {
                if let Some(begin) = value.strip_suffix('"') {
                    *value = format!("{begin}&t={count}\"");
                }
            }
            _ => {}
        }
    }
    object.0.retain(|(name, _)| !script.omit.contains(name));
    if shape.absent == Some(AbsentForm::Null) {
        for name in IF_APPLICABLE.split(' ') {
            if object.0.iter().all(|(known, _)| known != name) {
                object.set(name, "null".into());
            }
        }
    }
    object
}

/// The time that is `seconds` after the script was added.
pub(super) fn time(put_at: Timestamp, seconds: f64) -> Timestamp {
    let offset = SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    put_at.saturating_add(offset).unwrap_or(Timestamp::MAX)
}

/// The body for a list of system links.
pub(super) fn system_links(links: &[Fields], shape: Shape) -> String {
    let text = |link| {
        let mut object = Object::default();
        object.set_all(link);
        object.text(shape)
    };
    let objects: Vec<_> = links.iter().map(text).collect();
    let array = format!("[{}]", objects.join(","));
    match (shape.links, objects.as_slice()) {
        (Some(LinksForm::Wrapped), _) => format!(r#"{{"systemLinks":{array}}}"#),
        (Some(LinksForm::Object), []) => "{}".into(),
        (Some(LinksForm::Object), [only]) => only.clone(),
        (Some(LinksForm::Object | LinksForm::Array) | None, _) => array,
    }
}

impl Object {
    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.into(), value)),
        }
    }

    fn set_all(&mut self, fields: &Fields) {
        for (name, value) in fields {
            self.set(name, value.get().into());
        }
    }

    /// Turns the object of a session into an element of the list, which has only the documented
    /// fields.
    pub(super) fn make_list_element(&mut self, start_token: &str, ids: KeyForm, has_id: bool) {
        if self.0.iter().all(|(name, _)| name != "sessionStartToken") {
            self.set("sessionStartToken", quoted(start_token));
        }
        self.0
            .retain(|(name, _)| LISTED.contains(&name.as_str()) && (has_id || name != "sessionId"));
        self.0.sort_by_key(|(name, _)| LISTED.iter().position(|known| known == name));
        self.write_ids(ids);
    }

    /// Replaces all fields of an element of the list with those of another element, except the
    /// fields that identify its session.
    pub(super) fn mix(&mut self, other: Self) {
        let is_identity = |name: &str| IDENTITY.contains(&name);
        self.0.retain(|(name, _)| is_identity(name));
        self.0.extend(other.0.into_iter().filter(|(name, _)| !is_identity(name)));
    }

    /// Turns the object of a session into the body of a callback.
    pub(super) fn make_callback(&mut self, start_token: &str, ids: CallbackIds, order: FieldOrder) {
        match ids {
            CallbackIds::Text => {}
            CallbackIds::Number => self.write_ids(KeyForm::Number),
            CallbackIds::Token => {
                self.0.retain(|(name, _)| name != "sessionId");
                self.0.insert(0, ("sessionStartToken".into(), quoted(start_token)));
                self.write_ids(KeyForm::Number);
            }
        }
        if order == FieldOrder::Reversed {
            self.0.reverse();
        }
    }

    /// Writes the ids in one form, if they consist of digits.
    fn write_ids(&mut self, form: KeyForm) {
        for (name, value) in &mut self.0 {
            if matches!(name.as_str(), "sessionId" | "sessionStartToken") {
                *value = key(value, Some(form));
            }
        }
    }

    /// The object as a form. It has texts as they are, and other values as JSON. Null fields are
    /// left out, because a form has no null.
    pub(super) fn form(mut self, shape: Shape) -> String {
        self.add_unknown(shape);
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.0.iter().filter(|(_, value)| value != "null") {
            let text = serde_json::from_str::<String>(value).unwrap_or_else(|_| value.clone());
            form.append_pair(name, &text);
        }
        form.finish()
    }

    /// The object as JSON.
    pub(super) fn text(mut self, shape: Shape) -> String {
        self.add_unknown(shape);
        let field = |(name, value): &(String, String)| format!("{}:{value}", quoted(name));
        format!("{{{}}}", self.0.iter().map(field).collect::<Vec<_>>().join(","))
    }

    fn add_unknown(&mut self, shape: Shape) {
        if shape.unknown_fields == Some(true) {
            if self.0.iter().all(|(name, _)| name != "sessionStartToken") {
                self.set("sessionStartToken", quoted("start-token"));
            }
            self.set("deviceCount", "12345678901234567890".into());
            self.set("survey", r#"{"score":4.5,"answers":["yes",null,true]}"#.into());
        }
    }
}

/// A status such as `notStarted` in another spelling.
fn status(status: &str, form: Option<StatusForm>) -> String {
    let mut spaced = String::new();
    for letter in status.chars() {
        if spaced.is_empty() {
            spaced.extend(letter.to_uppercase());
        } else if letter.is_uppercase() {
            spaced.extend([' ', letter]);
        } else {
            spaced.push(letter);
        }
    }
    match form {
        None => status.into(),
        Some(StatusForm::Spaced) => spaced,
        Some(StatusForm::Pascal) => spaced.replace(' ', ""),
        Some(StatusForm::UpperSnake) => spaced.replace(' ', "_").to_uppercase(),
        Some(StatusForm::Kebab) => spaced.replace(' ', "-").to_lowercase(),
        Some(StatusForm::Snake) => spaced.replace(' ', "_").to_lowercase(),
        Some(StatusForm::Upper) => status.to_uppercase(),
        Some(StatusForm::Lower) => status.to_lowercase(),
    }
}

/// A JSON number or string of digits in the given form. Any other value is unchanged. So is a
/// string such as `"007"`, because a JSON number has no leading zeros.
fn key(value: &str, form: Option<KeyForm>) -> String {
    let number = value.trim_matches('"');
    let digits = number.strip_prefix('-').unwrap_or(number);
    let is_key = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
    match form {
        Some(KeyForm::Number) if is_key && !has_leading_zero => number.into(),
        Some(KeyForm::String) if is_key => quoted(number),
        Some(KeyForm::Number | KeyForm::String) | None => value.into(),
    }
}

fn collaborators(form: CollaboratorForm) -> &'static str {
    match form {
        CollaboratorForm::Strings => r#"["Tom Technician","tina@example.com"]"#,
        CollaboratorForm::Objects => {
            r#"[{"name":"Tom Technician","email":"tom@example.com","userKey":7004410},{"expertName":"Tina Technician","expertUserKey":"9999982253621659655"}]"#
        }
    }
}

fn timestamp(put_at: Timestamp, seconds: f64, form: Option<TimestampForm>) -> String {
    let time = time(put_at, seconds);
    let east = Offset::constant(2).to_datetime(time);
    let show = |format: &str| quoted(&time.strftime(format).to_string());
    match form.unwrap_or(TimestampForm::Zulu) {
        TimestampForm::Zulu => show("%Y-%m-%dT%H:%M:%SZ"),
        TimestampForm::Fraction => show("%Y-%m-%dT%H:%M:%S.%6fZ"),
        TimestampForm::Offset => quoted(&east.strftime("%Y-%m-%dT%H:%M:%S+02:00").to_string()),
        TimestampForm::BasicOffset => show("%Y-%m-%dT%H:%M:%S+0000"),
        TimestampForm::Basic => show("%Y%m%dT%H%M%SZ"),
        TimestampForm::Local => show("%Y-%m-%dT%H:%M:%S"),
        TimestampForm::LongFraction => show("%Y-%m-%dT%H:%M:%S.%9f012Z"),
        TimestampForm::SpacedOffset => show("%Y-%m-%dT%H:%M:%S +0000"),
        TimestampForm::EpochSeconds => time.as_second().to_string(),
        TimestampForm::EpochMillis => time.as_millisecond().to_string(),
        TimestampForm::FarFuture => quoted("9999-12-31T23:59:59Z"),
        TimestampForm::Unreadable => quoted("yesterday"),
    }
}
