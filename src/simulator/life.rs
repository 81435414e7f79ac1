//! The script of a session, its life, and its state at a moment.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use super::{chance::hash, list::Listed};
use crate::config::simulate::{CallbackUrl, Shape};

/// Fields of a body as JSON text, so that a number of twenty digits keeps all of them.
pub type Fields = BTreeMap<String, Box<RawValue>>;

/// A session and what happens to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionScript {
    /// The session id.
    #[serde(default)]
    pub id: String,
    /// A session token, which requests can use like the id. As with the vendor, a session with a
    /// token has no id before it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What happens, and when.
    pub steps: Vec<Step>,
    /// Fields that replace the default ones or are added to them; null is sent as null.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
    /// Fields that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<String>,
    /// The tokens, or principals of issued tokens, that may see the session. All others get 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_to: Option<Vec<String>>,
    /// The URL of its status callbacks [default: the URL in the settings].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_status_callback_url: Option<CallbackUrl>,
    /// The shape of its body, where it differs from the general one.
    #[serde(default)]
    pub shape: Shape,
    /// Seconds from the end of the session until it is 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<f64>,
}

/// One change of a session.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Seconds after the script was added; negative for the past.
    pub at: f64,
    /// The new status, which may be any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Fields that change, such as notes that come late.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
}

/// Why a script cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScript {
    /// A session needs an id.
    #[error("a session needs an id")]
    NoId,
    /// The earliest step has no status.
    #[error("session {0}: the earliest step needs a status")]
    NoStatus(String),
    /// A time is not a finite number.
    #[error("session {0}: every time must be a finite number of seconds")]
    NotFinite(String),
}

/// The state of a session at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    pub status: String,
    /// In seconds after the script was added, as are the next two.
    pub started_at: Option<f64>,
    pub joined_at: Option<f64>,
    pub ended_at: Option<f64>,
    pub fields: Fields,
}

/// A script, and when it was added.
#[derive(Debug)]
pub(super) struct Life {
    pub script: SessionScript,
    pub since: Instant,
    pub since_time: Timestamp,
    /// The token of the session in the list. Requests can use it like the id.
    pub start_token: String,
    /// The element of the list that was sent last.
    pub listed: Option<Listed>,
    /// A number that no other life has.
    pub number: u64,
}

impl SessionScript {
    /// A session without any steps yet.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// A session whose status never changes.
    pub fn resting(id: impl Into<String>, status: &str) -> Self {
        Self::new(id).step(0.0, status)
    }

    /// A session that goes from notStarted over waiting and active to complete, in steps of `pace`
    /// seconds.
    pub fn walking(id: impl Into<String>, pace: f64) -> Self {
        Self::new(id)
            .step(0.0, "notStarted")
            .step(pace, "waiting")
            .step(2.0 * pace, "active")
            .step(3.0 * pace, "complete")
    }

    /// Adds a new status, `at` seconds after the script was added.
    #[must_use]
    pub fn step(mut self, at: f64, status: &str) -> Self {
        self.steps.push(Step { at, status: Some(status.into()), fields: Fields::new() });
        self
    }

    /// Adds a change of one field, `at` seconds after the script was added.
    #[must_use]
    pub fn later(mut self, at: f64, field: &str, value: impl Serialize) -> Self {
        if let Ok(value) = to_raw_value(&value) {
            let fields = Fields::from([(field.into(), value)]);
            self.steps.push(Step { at, status: None, fields });
        }
        self
    }

    /// Sets a field.
    #[must_use]
    pub fn field(mut self, field: &str, value: impl Serialize) -> Self {
        if let Ok(value) = to_raw_value(&value) {
            self.fields.insert(field.into(), value);
        }
        self
    }

    /// Sets a field to this JSON text. Text that is not JSON changes nothing.
    #[must_use]
    pub fn raw_field(mut self, field: &str, json: &str) -> Self {
        if let Ok(value) = RawValue::from_string(json.into()) {
            self.fields.insert(field.into(), value);
        }
        self
    }

    /// Makes the session visible to these tokens or principals only.
    #[must_use]
    pub fn visible_to(mut self, tokens: &[&str]) -> Self {
        self.visible_to = Some(tokens.iter().map(ToString::to_string).collect());
        self
    }

    /// The script with its steps in order, if it can be played.
    pub(super) fn checked(mut self) -> Result<Self, InvalidScript> {
        if self.id.is_empty() {
            return Err(InvalidScript::NoId);
        }
        let mut times = self.steps.iter().map(|step| step.at).chain(self.retention);
        if !times.all(f64::is_finite) {
            return Err(InvalidScript::NotFinite(self.id));
        }
        self.steps.sort_by(|one, other| one.at.total_cmp(&other.at));
        if self.steps.first().is_none_or(|step| step.status.is_none()) {
            return Err(InvalidScript::NoStatus(self.id));
        }
        Ok(self)
    }

    /// The steps until the time `at`, in seconds after the script was added.
    pub(super) fn passed(&self, at: f64) -> &[Step] {
        self.steps.get(..self.steps.partition_point(|step| step.at <= at)).unwrap_or_default()
    }

    /// The state after these steps; `None` if there are none.
    pub(super) fn after(&self, steps: &[Step]) -> Option<Moment> {
        let mut moment = Moment { fields: self.fields.clone(), ..Moment::default() };
        for step in steps {
            moment.pass(step);
        }
        (!steps.is_empty()).then_some(moment)
    }

    /// The state `at` seconds after the script was added; `None` before the first step.
    pub(super) fn moment(&self, at: f64) -> Option<Moment> {
        self.after(self.passed(at))
    }

    /// Whether the session has its id while it has that status.
    pub(super) fn has_id(&self, status: &str) -> bool {
        self.token.is_none() || status != "notStarted"
    }

    /// Whether the vendor has deleted the session. The vendor keeps a session for `retention`
    /// seconds after its end.
    pub(super) fn is_gone(&self, at: f64, ended_at: Option<f64>, retention: f64) -> bool {
        let retention = self.retention.unwrap_or(retention);
        ended_at.is_some_and(|ended_at| at >= ended_at + retention)
    }

    /// When the session begins to exist, in seconds after the script was added.
    pub(super) fn begin(&self) -> f64 {
        self.steps.first().map_or(0.0, |step| step.at)
    }
}

impl Life {
    /// A life that begins now.
    pub(super) fn new(script: SessionScript, since_time: Timestamp, number: u64) -> Self {
        // Eighteen digits are more than an f64 can hold exactly.
        let digits = 10_u64.pow(17) + hash(0, "start token", &script.id) % 10_u64.pow(17);
        let start_token = script.token.clone().unwrap_or_else(|| digits.to_string());
        Self { script, since: Instant::now(), since_time, start_token, listed: None, number }
    }

    /// The status now; `None` before the first step.
    pub(super) fn status(&self) -> Option<String> {
        self.script.moment(self.since.elapsed().as_secs_f64()).map(|moment| moment.status)
    }

    /// The steps that cause a callback, and when they happen: the customer joins, or the session
    /// ends. Steps before the script was added cause none.
    pub(super) fn callback_steps(&self) -> impl Iterator<Item = (Instant, usize)> {
        let mut status = None;
        self.script.steps.iter().enumerate().filter_map(move |(number, step)| {
            let is_new = step.status.is_some() && step.status != status;
            status = step.status.clone().or(status.take());
            let at = Duration::try_from_secs_f64(step.at).ok()?;
            let at = self.since.checked_add(at)?;
            (is_new && (step.joins() || step.ends())).then_some((at, number))
        })
    }
}

impl Step {
    pub(super) fn starts(&self) -> bool {
        self.is_any(&["waiting", "active", "complete", "abandoned"])
    }

    pub(super) fn ends(&self) -> bool {
        self.is_any(&["complete", "abandoned"])
    }

    pub(super) fn joins(&self) -> bool {
        self.is_any(&["active"])
    }

    fn is_any(&self, statuses: &[&str]) -> bool {
        self.status.as_deref().is_some_and(|status| statuses.contains(&status))
    }
}

impl Moment {
    fn pass(&mut self, step: &Step) {
        self.fields.extend(step.fields.clone());
        if let Some(status) = &step.status {
            self.status.clone_from(status);
        }
        let times = [
            (step.starts(), &mut self.started_at),
            (step.joins(), &mut self.joined_at),
            (step.ends(), &mut self.ended_at),
        ];
        for (_, time) in times.into_iter().filter(|(happens, _)| *happens) {
            time.get_or_insert(step.at);
        }
    }
}
