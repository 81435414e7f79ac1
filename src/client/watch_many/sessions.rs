//! What a client knows of its sessions, and so what it must ask for on the next stream.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Timestamp;
use tokio::time::Instant;

use super::WatchMany;
use crate::{
    client::{Failure, Interruption, retry::Retry},
    proto::{
        AllSessions, WatchSessionRequest, WatchSessionResponse, WatchSessionsRequest,
        WatchSessionsResponse,
        watch_session_response::EventType,
        watch_sessions_request::{Action, Add},
        watch_sessions_response::Body,
    },
};

/// How many sessions are added with one message, which may have 4 MiB.
const BATCH: usize = 1_000;

/// On the next stream, `all` begins this many seconds before the last heartbeat. That is longer than
/// the service bears a list that fails, and than clocks differ.
const MARGIN: i64 = 30 * 60;

/// All sessions of a watch.
pub(super) struct Sessions {
    heartbeat_interval: Option<prost_types::Duration>,
    by_id: BTreeMap<String, Session>,
    /// How many of them have not ended.
    open: usize,
    /// The sessions with a pause, and when it ends. A session may have left its pause before that.
    pauses: BTreeSet<(Instant, String)>,
    all: Option<All>,
    /// The latest time at which the service received an answer of the vendor.
    observed_at: Time,
}

/// Seconds and nanoseconds since 1970, by the service's clock.
type Time = (i64, i32);

/// One session.
struct Session {
    request: WatchSessionRequest,
    stage: Stage,
    /// Whether a terminal update has come.
    was_terminal: bool,
    /// Failed tries to watch it since its last message.
    retry: Option<Box<Retry>>,
}

enum Stage {
    /// It is on the stream, or it will be on the next one.
    Open,
    /// It is added again then.
    Pausing(Instant),
    /// It ended then. `all` may find it again.
    Over(Time),
}

/// All sessions of the account.
struct All {
    /// The client knows all sessions that ended before. `None` means the time when the stream
    /// begins.
    from_time: Option<Time>,
    /// When it is added again, if it has ended.
    due_at: Option<Instant>,
    retry: Retry,
}

/// What a message tells.
pub(super) enum Note {
    /// Something new.
    News,
    /// Nothing that the client does not know from an earlier stream.
    Known,
    /// A session has ended, and is added again.
    Interrupted(Interruption),
    /// The sessions of the account cannot be found any more.
    AllEnded(Failure),
}

impl Sessions {
    pub fn new(watch: WatchMany) -> Self {
        let by_id: BTreeMap<_, _> = watch
            .sessions
            .into_iter()
            .map(|request| (request.session_id.clone(), Session::new(request)))
            .collect();
        Self {
            heartbeat_interval: watch.heartbeat_interval,
            open: by_id.len(),
            by_id,
            pauses: BTreeSet::new(),
            all: watch.all.as_ref().map(All::new),
            observed_at: (0, 0),
        }
    }

    /// Whether the last session has ended.
    pub fn is_over(&self) -> bool {
        self.open == 0 && self.all.is_none()
    }

    pub fn resume_tokens(&self) -> impl Iterator<Item = (&str, &str)> {
        let open = self.by_id.iter().filter(|(_, session)| session.is_open());
        let tokens = open.map(|(id, session)| (id.as_str(), session.request.resume_token.as_str()));
        tokens.filter(|(_, token)| !token.is_empty())
    }

    /// What to send at the beginning of a stream.
    pub fn begin_stream(&mut self) -> Vec<WatchSessionsRequest> {
        self.pauses.clear();
        let known_until = self.all.as_ref().and_then(|all| all.from_time);
        let mut sessions = Vec::new();
        for session in self.by_id.values_mut() {
            let is_wanted = match session.stage {
                Stage::Open | Stage::Pausing(_) => true,
                // With its token, it is not told again when `all` finds it.
                Stage::Over(at) => {
                    session.was_terminal && known_until.is_some_and(|known| at >= known)
                }
            };
            if is_wanted {
                sessions.push(session.request.clone());
            }
            if let Stage::Pausing(_) = session.stage {
                session.stage = Stage::Open;
            }
        }
        let all = self.all.as_mut().map(All::ask);
        self.requests(sessions, all)
    }

    /// When the next session is added again.
    pub fn due_at(&self) -> Option<Instant> {
        let session = self.pauses.first().map(|(at, _)| *at);
        let all = self.all.as_ref().and_then(|all| all.due_at);
        session.into_iter().chain(all).min()
    }

    /// Adds the sessions again that are due.
    pub fn take_due(&mut self, now: Instant) -> Vec<WatchSessionsRequest> {
        let mut sessions = Vec::new();
        while self.pauses.first().is_some_and(|(at, _)| *at <= now)
            && let Some((at, id)) = self.pauses.pop_first()
        {
            if let Some(session) = self.by_id.get_mut(&id)
                && let Stage::Pausing(until) = session.stage
                && until == at
            {
                session.stage = Stage::Open;
                sessions.push(session.request.clone());
            }
        }
        let all = self.all.as_mut().filter(|all| all.due_at.is_some_and(|at| at <= now));
        let all = all.map(All::ask);
        self.requests(sessions, all)
    }

    /// Stores what the next stream needs.
    pub fn note(&mut self, message: &WatchSessionsResponse, is_resuming: bool) -> Note {
        let id = &message.session_id;
        self.note_time(message);
        match &message.body {
            Some(Body::Update(update)) => self.note_update(id, update),
            Some(Body::Ended(status)) if id.is_empty() => self.note_end_of_all(status, is_resuming),
            Some(Body::Ended(status)) => self.note_end(id, status, is_resuming),
            Some(Body::Heartbeat(_)) => {
                self.note_heartbeat();
                Note::News
            }
            None => Note::Known,
        }
    }

    fn note_update(&mut self, id: &str, update: &WatchSessionResponse) -> Note {
        let session = self.session(id);
        session.retry = None;
        session.request.resume_token.clone_from(&update.resume_token);
        if session.was_terminal && update.event_type() == EventType::Heartbeat {
            return Note::Known;
        }
        let was_open = session.is_open();
        if !session.was_terminal {
            // A session that could not be read is found after all.
            session.stage = Stage::Open;
            session.was_terminal = update.terminal;
        }
        let is_back = !was_open && session.is_open();
        self.open += usize::from(is_back);
        Note::News
    }

    fn note_end(&mut self, id: &str, status: &tonic_types::Status, is_resuming: bool) -> Note {
        let observed_at = self.observed_at;
        let session = self.session(id);
        if !session.is_open() {
            return Note::Known;
        }
        let failure = Failure::from(status);
        if is_resuming && failure.is_worth_resuming() {
            let retry = session.retry.get_or_insert_with(|| Box::new(Retry::new()));
            let interruption = retry.after(failure);
            let until = Instant::now() + interruption.delay;
            session.stage = Stage::Pausing(until);
            self.pauses.insert((until, id.to_owned()));
            return Note::Interrupted(interruption);
        }
        session.stage = Stage::Over(observed_at);
        self.open -= 1;
        Note::News
    }

    /// The session. If it is new, `all` has found it.
    fn session(&mut self, id: &str) -> &mut Session {
        if !self.by_id.contains_key(id) {
            self.open += 1;
        }
        self.by_id.entry(id.to_owned()).or_insert_with(|| {
            Session::new(WatchSessionRequest { session_id: id.to_owned(), ..Default::default() })
        })
    }

    fn note_end_of_all(&mut self, status: &tonic_types::Status, is_resuming: bool) -> Note {
        let failure = Failure::from(status);
        match &mut self.all {
            Some(all) if is_resuming && failure.is_worth_resuming() => {
                let interruption = all.retry.after(failure);
                all.due_at = Some(Instant::now() + interruption.delay);
                Note::Interrupted(interruption)
            }
            Some(_) | None => Note::AllEnded(failure),
        }
    }

    fn note_time(&mut self, message: &WatchSessionsResponse) {
        let observed_at = match &message.body {
            Some(Body::Update(update)) => &update.observed_at,
            Some(Body::Heartbeat(heartbeat)) => &heartbeat.oldest_observed_at,
            Some(Body::Ended(_)) | None => &None,
        };
        let Some(Timestamp { seconds, nanos }) = *observed_at else { return };
        self.observed_at = self.observed_at.max((seconds, nanos));
        if let Some(all) = &mut self.all {
            all.from_time.get_or_insert(self.observed_at);
        }
    }

    fn note_heartbeat(&mut self) {
        let Some(all) = &mut self.all else { return };
        // While `all` is not on the stream, nothing becomes known.
        if all.due_at.is_some() || self.observed_at == (0, 0) {
            return;
        }
        all.retry = Retry::new();
        let (seconds, nanos) = self.observed_at;
        let known_until = (seconds - MARGIN, nanos).max(all.from_time.unwrap_or_default());
        all.from_time = Some(known_until);
        self.by_id.retain(|_, session| match session.stage {
            Stage::Open | Stage::Pausing(_) => true,
            Stage::Over(at) => at >= known_until,
        });
    }

    fn requests(
        &self,
        mut sessions: Vec<WatchSessionRequest>,
        mut all: Option<AllSessions>,
    ) -> Vec<WatchSessionsRequest> {
        let mut requests = Vec::new();
        while !sessions.is_empty() || all.is_some() {
            let rest = sessions.split_off(sessions.len().min(BATCH));
            // Only with the last message, so that what is known is not found first.
            let all = if rest.is_empty() { all.take() } else { None };
            let heartbeat_interval = self.heartbeat_interval;
            let add = Add { sessions, all, heartbeat_interval };
            requests.push(WatchSessionsRequest { action: Some(Action::Add(add)) });
            sessions = rest;
        }
        requests
    }
}

impl Session {
    fn new(request: WatchSessionRequest) -> Self {
        Self { request, stage: Stage::Open, was_terminal: false, retry: None }
    }

    fn is_open(&self) -> bool {
        match self.stage {
            Stage::Open | Stage::Pausing(_) => true,
            Stage::Over(_) => false,
        }
    }
}

impl All {
    fn new(asked: &AllSessions) -> Self {
        let from_time = asked.from_time.as_ref().map(|time| (time.seconds, time.nanos));
        Self { from_time, due_at: None, retry: Retry::new() }
    }

    fn ask(&mut self) -> AllSessions {
        self.due_at = None;
        let from_time = self.from_time.map(|(seconds, nanos)| Timestamp { seconds, nanos });
        AllSessions { from_time }
    }
}
