//! The three calls on one session, from notStarted to complete, as anybody's client would make
//! them.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{FAILED, output},
    screen::{self, Screen},
};
use crate::{
    client::Client,
    proto::{
        Session, SessionStatus, StatusTransition, WatchSessionRequest, WatchSessionResponse,
        watch_session_response::EventType,
    },
};

/// How long a call may take, and how long the whole watch.
const CALL_LIMIT: Duration = Duration::from_secs(10);
const WATCH_LIMIT: Duration = Duration::from_mins(2);

/// The life that the walk must have seen.
const LIFE: [SessionStatus; 4] = [
    SessionStatus::NotStarted,
    SessionStatus::Waiting,
    SessionStatus::Active,
    SessionStatus::Complete,
];

/// What to walk through.
pub struct Walk<'a> {
    /// The session.
    pub session_id: &'a str,
    /// The domain whose links are listed.
    pub system_domain: &'a str,
    /// How long to watch after the end.
    pub follow_after_end: Duration,
}

impl Walk<'_> {
    /// Makes the calls and shows what comes; `Err` is the exit status.
    pub async fn run(&self, client: &Client, screen: &mut Screen) -> Result<(), u8> {
        self.get(client, screen).await?;
        self.list(client, screen).await?;
        let seen = tokio::time::timeout(WATCH_LIMIT, self.watch(client, screen)).await;
        match seen {
            Ok(Ok(seen)) if seen == LIFE => Ok(()),
            Ok(Ok(_)) => {
                Err(output::fail(FAILED, &"the watch did not show the session's whole life"))
            }
            Ok(Err(status)) => Err(status),
            Err(_) => Err(output::fail(FAILED, &"the watch did not end")),
        }
    }

    async fn get(&self, client: &Client, screen: &mut Screen) -> Result<(), u8> {
        screen.head("GetSession", self.session_id)?;
        let answer = client
            .get_session(self.session_id, CALL_LIMIT)
            .await
            .map_err(|failure| output::failure(&failure))?;
        for (name, value) in answer.session.iter().flat_map(shown) {
            screen.pair(name, value)?;
        }
        Ok(())
    }

    async fn list(&self, client: &Client, screen: &mut Screen) -> Result<(), u8> {
        screen.head("ListSystemLinks", self.system_domain)?;
        let answer = client
            .list_system_links(self.system_domain, CALL_LIMIT)
            .await
            .map_err(|failure| output::failure(&failure))?;
        for link in answer.system_links {
            screen.pair(&link.system_name, link.callback_url)?;
        }
        Ok(())
    }

    /// The statuses that the watch showed, each once.
    async fn watch(&self, client: &Client, screen: &mut Screen) -> Result<Vec<SessionStatus>, u8> {
        screen.head("WatchSession", self.session_id)?;
        let start = Instant::now();
        let mut watch = client.watch(WatchSessionRequest {
            session_id: self.session_id.to_owned(),
            follow_after_end: self.follow_after_end.try_into().ok(),
            ..WatchSessionRequest::default()
        });
        let mut seen = Vec::new();
        while let Some(message) = watch.next().await {
            let message = message.map_err(|failure| output::failure(&failure))?;
            note(&message, &mut seen);
            let event = message.event_type().as_str_name().trim_start_matches("EVENT_TYPE_");
            let (what, behind) = describe(&message);
            screen.event(start.elapsed(), event, &what, &behind)?;
        }
        screen.event(start.elapsed(), "OK", "", "the last message was terminal")?;
        Ok(seen)
    }
}

/// The fields that are shown at the session's start, by the vendor's names, as far as it has them.
fn shown(session: &Session) -> impl Iterator<Item = (&'static str, &str)> {
    let fields = [
        ("sessionId", Some(session.session_id.as_str())),
        ("status", Some(session.status().as_str_name())),
        ("accountKey", Some(session.account_key.as_str())),
        ("expertName", session.expert_name.as_deref()),
        ("customerName", session.customer_name.as_deref()),
        ("partnerObject", session.partner_object.as_deref()),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(_, value)| !value.is_empty())
}

fn note(message: &WatchSessionResponse, seen: &mut Vec<SessionStatus>) {
    let first = seen.is_empty().then(|| message.session.as_ref().map(Session::status));
    seen.extend(first.flatten());
    seen.extend(message.transitions.iter().map(StatusTransition::to_status));
}

/// What a message tells, and what lies behind it.
fn describe(message: &WatchSessionResponse) -> (String, String) {
    match (message.event_type(), &message.session) {
        (EventType::Snapshot, Some(session)) => (screen::status(session.status()), String::new()),
        (EventType::Changed, Some(session)) if message.transitions.is_empty() => {
            news(message, session).unwrap_or_else(|| (String::new(), changed_fields(message)))
        }
        (EventType::Changed, Some(_)) => {
            let steps: Vec<_> = message.transitions.iter().map(describe_transition).collect();
            (steps.join(", "), changed_fields(message))
        }
        (EventType::Heartbeat, _) => (String::new(), "nothing changed".to_owned()),
        (EventType::Stale, _) => (String::new(), "the vendor does not answer".to_owned()),
        (EventType::Unspecified, _) | (EventType::Snapshot | EventType::Changed, None) => {
            (String::new(), String::new())
        }
    }
}

fn describe_transition(transition: &StatusTransition) -> String {
    let from = screen::status(transition.from_status());
    let to = screen::status(transition.to_status());
    if transition.inferred {
        format!("{from} → {to} (inferred)")
    } else {
        format!("{from} → {to}")
    }
}

/// What came late, in its own words.
fn news(message: &WatchSessionResponse, session: &Session) -> Option<(String, String)> {
    let mask = message.changed_fields.as_ref()?;
    let has_changed = |name| mask.paths.iter().any(|path| path == name);
    let told = |name: &str, text: &String| (name.to_owned(), text.clone());
    if has_changed("notes") {
        session.notes.as_ref().map(|text| told("notes", text))
    } else if has_changed("session_recording_url") {
        session.session_recording_url.as_ref().map(|text| told("recording", text))
    } else {
        None
    }
}

fn changed_fields(message: &WatchSessionResponse) -> String {
    let paths = message.changed_fields.iter().flat_map(|mask| &mask.paths);
    // The transition has told of these.
    let paths = paths.filter(|path| !matches!(path.as_str(), "status" | "upstream_status"));
    paths.cloned().collect::<Vec<_>>().join(", ")
}
