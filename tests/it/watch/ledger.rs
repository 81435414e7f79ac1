//! The messages of one watcher, over all its streams, and checks that they are a true history.

use std::{collections::BTreeSet, sync::LazyLock};

use gotoassist_grpc::proto::{
    DESCRIPTORS, Session, SessionStatus, WatchSessionResponse, watch_session_response::EventType,
};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::world::End;

/// All messages of one watcher.
#[derive(Default)]
pub struct Ledger {
    /// Every state that the session ever had, if it is known.
    truth: Option<Vec<Session>>,
    /// The statuses, from the first snapshot through each transition.
    pub path: Vec<i32>,
    pub resume_token: String,
    pub is_over: bool,
    session: Option<Session>,
    observed_at: (i64, i32),
    is_stale: bool,
}

/// How a stream begins.
#[derive(Clone, Copy, PartialEq)]
pub enum Begin {
    Fresh,
    Resumed,
    Under,
}

impl Ledger {
    /// Creates a ledger for a watcher of the session with these states.
    pub fn of(truth: Vec<Session>) -> Self {
        Self { truth: Some(truth), ..Self::default() }
    }

    /// How the next stream of the watcher begins.
    pub fn begin(&self) -> Begin {
        if self.resume_token.is_empty() { Begin::Fresh } else { Begin::Resumed }
    }

    /// Records a message. Returns what is wrong with it.
    pub fn enter(&mut self, begin: Begin, message: &WatchSessionResponse) -> Result<(), String> {
        let kind = message.event_type();
        let before = self.observed_at;
        self.check_order(message)?;
        let is_newer = self.observed_at > before;
        // Each new stream may report again that the vendor is in trouble.
        self.is_stale &= begin == Begin::Under;
        if let Some(session) = &message.session {
            self.check_own(session)?;
        }
        if message.resume_token.is_empty() {
            return Err("no resume token".to_owned());
        }
        self.resume_token.clone_from(&message.resume_token);
        match (begin, kind) {
            (Begin::Fresh, EventType::Snapshot) => self.start(message)?,
            (Begin::Resumed, EventType::Heartbeat) => {}
            (Begin::Resumed | Begin::Under, EventType::Changed) => self.change(message)?,
            (Begin::Under, EventType::Heartbeat) => {
                if self.is_stale && !is_newer {
                    return Err("recovery is told without a newer answer".to_owned());
                }
                self.is_stale = false;
            }
            (Begin::Under, EventType::Stale) => {
                self.is_stale = true;
                if message.stale_cause.is_none() {
                    return Err("stale without a cause".to_owned());
                }
            }
            (_, kind) => return Err(format!("{kind:?} out of place")),
        }
        if !matches!(kind, EventType::Changed) && !message.transitions.is_empty() {
            return Err("transitions without a change".to_owned());
        }
        self.is_over = message.terminal;
        Ok(())
    }

    /// Checks that the stream ended with OK if and only if the last message was terminal.
    pub fn end(&self, end: &End) -> Result<(), String> {
        match (end, self.is_over) {
            (End::Ok, true) | (End::Error(_), false) => Ok(()),
            (End::Ok, false) => Err("OK without a terminal message".to_owned()),
            (End::Error(status), true) => Err(format!("{status} after a terminal message")),
        }
    }

    /// Whether the path is possible for a session whose statuses were `truth`. It has no repeats,
    /// keeps the order, and skips no status with a rank.
    pub fn check_against(&self, truth: &[i32]) -> Result<(), String> {
        let told = |path: &[i32]| -> Vec<String> {
            path.iter()
                .map(|status| SessionStatus::try_from(*status).unwrap().as_str_name().to_owned())
                .collect()
        };
        let wrong = |what: &str| {
            Err(format!("{what}: told {:?}, in truth {:?}", told(&self.path), told(truth)))
        };
        let is_from = |start: usize| {
            let mut rest = truth[start..].iter();
            let in_order = self.path.iter().all(|status| rest.any(|passed| passed == status));
            let ranked = |path: &[i32]| -> Vec<i32> {
                path.iter().copied().filter(|status| *status != 0).collect()
            };
            in_order && ranked(&self.path) == ranked(&truth[start..])
        };
        // All unknown statuses look alike, so the path may begin at more than one place.
        let mut starts = (0..truth.len()).filter(|start| Some(&truth[*start]) == self.path.first());
        if starts.any(is_from) { Ok(()) } else { wrong("repeated, reordered or left out") }
    }

    /// Checks that each field has a value that the session had at some time. The spelling of a
    /// status may differ.
    fn check_own(&self, session: &Session) -> Result<(), String> {
        let plain = |session: &Session| Session {
            upstream_status: session.upstream_status.to_lowercase(),
            ..session.clone()
        };
        let Some(truths) = &self.truth else { return Ok(()) };
        let told = plain(session);
        let nothing = Session::default();
        let mut strange = changed_fields(&told, &nothing);
        for truth in truths {
            let different = changed_fields(&told, &plain(truth));
            strange.retain(|field| different.contains(field));
        }
        if strange.is_empty() {
            Ok(())
        } else {
            Err(format!("fields that are not the session's own: {strange:?}"))
        }
    }

    fn start(&mut self, message: &WatchSessionResponse) -> Result<(), String> {
        let session = message.session.clone().ok_or("a snapshot without a session")?;
        self.path.push(session.status);
        self.session = Some(session);
        Ok(())
    }

    fn change(&mut self, message: &WatchSessionResponse) -> Result<(), String> {
        let session = message.session.clone().ok_or("a change without a session")?;
        let before = self.session.replace(session.clone()).ok_or("a change before a snapshot")?;
        if before == session {
            let (fields, path) = (&message.changed_fields, &message.transitions);
            return Err(format!("a change that changes nothing: {fields:?} {path:?}"));
        }
        let told: BTreeSet<_> =
            message.changed_fields.clone().unwrap_or_default().paths.into_iter().collect();
        let changed = changed_fields(&before, &session);
        if told != changed {
            return Err(format!("changed fields {told:?}, in truth {changed:?}"));
        }
        for step in &message.transitions {
            if self.path.last() != Some(&step.from_status) {
                return Err(format!("a transition from {:?} out of the blue", step.from_status()));
            }
            self.path.push(step.to_status);
        }
        if self.path.last() != Some(&session.status) {
            return Err("the transitions do not lead to the session's status".to_owned());
        }
        self.is_stale = false;
        Ok(())
    }

    fn check_order(&mut self, message: &WatchSessionResponse) -> Result<(), String> {
        let observed_at = message.observed_at.ok_or("no observed_at")?;
        let observed_at = (observed_at.seconds, observed_at.nanos);
        if observed_at < self.observed_at {
            return Err(format!("back in time from {:?} to {observed_at:?}", self.observed_at));
        }
        self.observed_at = observed_at;
        Ok(())
    }
}

/// The fields that differ. The test finds them by reflection, while the service uses another
/// method.
fn changed_fields(before: &Session, after: &Session) -> BTreeSet<String> {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap());
    let form = POOL.get_message_by_name("gotoassist.remotesupport.v1.Session").unwrap();
    let decode = |session: &Session| {
        DynamicMessage::decode(form.clone(), session.encode_to_vec().as_slice()).unwrap()
    };
    let (before, after) = (decode(before), decode(after));
    let fields = form.fields().filter(|field| {
        before.has_field(field) != after.has_field(field)
            || before.get_field(field) != after.get_field(field)
    });
    fields.map(|field| field.name().to_owned()).collect()
}
