//! A client that follows many sessions on one stream. It leaves, returns, stalls, changes servers,
//! and adds and removes sessions, until all of them are over.

use std::{collections::VecDeque, time::Duration};

use fastrand::Rng;
use futures_util::future::BoxFuture;
use gotoassist_grpc::proto::{
    WatchSessionRequest, WatchSessionsRequest,
    watch_session_response::EventType,
    watch_sessions_request::{Action, Add},
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

use super::desk::{Desk, Told, add_all_since};
use crate::{
    kit::request,
    watch::{
        ledger::{Begin, Ledger},
        poison,
        random::is_temporary,
        world::End,
    },
};

/// The client.
pub struct Follower {
    pub rng: Rng,
    pub sessions: Vec<Followed>,
    /// Whether it also asks for the session that always fails.
    pub is_poisoned: bool,
    /// Since when it wants all sessions of the account, if it does. It then asks only for those
    /// that it knows from an earlier stream.
    pub all_since: Option<prost_types::Timestamp>,
    /// From then on it neither leaves nor stalls nor removes sessions.
    pub calm_at: Instant,
    /// How long it stays on a stream at most, and how long it stalls at most.
    pub most: (Duration, Duration),
    /// How many messages it has received, and on how many streams.
    pub received: (usize, usize),
    /// The sessions whose removal the service may not have read yet.
    pub removed: VecDeque<String>,
}

/// A session that the client follows.
pub struct Followed {
    id: String,
    /// Its statuses in truth.
    truth: Vec<i32>,
    ledger: Ledger,
    begin: Begin,
    place: Place,
}

/// Whether the session is on the current stream.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Off,
    On,
    /// It was removed, but messages of it may be under way.
    Removed,
}

/// No session has this id. The client adds it after it has removed a session. When the refusal comes,
/// no message of that session can be under way any more.
const BARRIER: &str = "..";

/// Opens a stream somewhere.
pub type Open = Box<dyn FnMut(&mut Rng) -> BoxFuture<'static, Result<Desk, Status>> + Send>;

impl Followed {
    pub fn new(id: String, truth: Vec<i32>, ledger: Ledger) -> Self {
        Self { id, truth, ledger, begin: Begin::Fresh, place: Place::Off }
    }
}

impl Follower {
    /// Follows all sessions to their end.
    pub async fn follow(mut self, mut open: Open) -> Result<Self, String> {
        while self.sessions.iter().any(|session| !session.ledger.is_over) {
            match open(&mut self.rng).await {
                Ok(desk) => self.stream(desk).await?,
                Err(status) if is_temporary(&status, Begin::Under) => {
                    sleep(Duration::from_secs(self.rng.u64(1..5))).await;
                }
                Err(status) => return Err(format!("the stream cannot start: {status}")),
            }
        }
        for Followed { id, ledger, truth, .. } in &self.sessions {
            ledger.check_against(truth).map_err(|fault| format!("{id}: {fault}"))?;
        }
        Ok(self)
    }

    /// How many status changes it was told.
    pub fn transitions(&self) -> usize {
        self.sessions.iter().map(|session| session.ledger.path.len() - 1).sum()
    }

    fn some(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.f64())
    }

    /// One stream, until it ends or the client leaves.
    async fn stream(&mut self, mut desk: Desk) -> Result<(), String> {
        let finds = self.all_since.is_some();
        self.removed.clear();
        for session in &mut self.sessions {
            let is_found = finds && session.ledger.begin() == Begin::Fresh;
            session.begin = Begin::Fresh;
            session.place = if is_found { Place::On } else { Place::Off };
        }
        self.rng.shuffle(&mut self.sessions);
        self.begin(&desk).await;
        self.received.1 += 1;
        let leaves_at = match Instant::now() + self.some(self.most.0) {
            at if at < self.calm_at => at,
            _ => Instant::now() + Duration::from_hours(1),
        };
        while self.sessions.iter().any(|session| !session.ledger.is_over) {
            if Instant::now() < self.calm_at {
                match self.rng.u8(0..30) {
                    0 => sleep(self.some(self.most.1)).await,
                    1 => self.remove(&desk).await,
                    _ => {}
                }
            }
            match timeout_at(leaves_at, desk.any()).await {
                Err(_) => return Ok(()),
                // What the list told is not true. Another stream may find what it has hidden.
                Ok(Ok(Told::Ended(id, _))) if self.is_strange(&id) => return Ok(()),
                Ok(Ok(told)) => self.enter(&desk, told).await?,
                Ok(Err(End::Error(status))) if is_temporary(&status, Begin::Under) => {
                    return Ok(());
                }
                Ok(Err(end)) => return Err(format!("the stream ended with {end:?}")),
            }
        }
        Ok(())
    }

    async fn enter(&mut self, desk: &Desk, told: Told) -> Result<(), String> {
        self.received.0 += 1;
        match told {
            Told::Heartbeat(heartbeat) => {
                let strange = usize::from(self.is_poisoned || self.all_since.is_some());
                let most = self.sessions.len() + 2 * strange;
                if usize::try_from(heartbeat.session_count).unwrap() > most {
                    return Err(format!("{heartbeat:?} of {most} sessions"));
                }
                self.add(desk).await;
            }
            Told::Ended(id, _) if id == BARRIER => {
                let removed = self.removed.pop_front().ok_or("a refusal too many")?;
                let is_removed_again = self.removed.contains(&removed);
                for session in &mut self.sessions {
                    let is_off = session.id == removed && session.place == Place::Removed;
                    if is_off && !is_removed_again {
                        session.place = Place::Off;
                    }
                }
            }
            Told::Update(id, _) | Told::Ended(id, _) if id == poison::POISON => {}
            Told::Ended(id, status) if id.is_empty() => {
                if status.code() == tonic::Code::Unimplemented {
                    self.all_since = None;
                    for session in &mut self.sessions {
                        let is_awaited = session.ledger.begin() == Begin::Fresh;
                        session.place = if is_awaited { Place::Off } else { session.place };
                    }
                }
                self.add_all(desk, Vec::new()).await;
                self.add(desk).await;
            }
            // It was over on an earlier stream.
            Told::Update(id, update) if self.session(&id)?.ledger.is_over => {
                if update.event_type() == EventType::Snapshot {
                    return Err(format!("{id} is told again"));
                }
            }
            Told::Ended(id, _)
                if self.session(&id)?.ledger.is_over
                    && self.session(&id)?.begin == Begin::Fresh => {}
            Told::Update(id, update) => {
                let session = self.session(&id)?;
                session
                    .ledger
                    .enter(session.begin, &update)
                    .map_err(|fault| format!("{id}: {fault}"))?;
                session.begin = Begin::Under;
            }
            Told::Ended(id, status) => {
                let session = self.session(&id)?;
                let begin = session.begin;
                let end = if status.code() == tonic::Code::Ok {
                    End::Ok
                } else {
                    End::Error(status.clone())
                };
                session.ledger.end(&end).map_err(|fault| format!("{id}: {fault}"))?;
                if matches!(end, End::Error(_)) && !is_temporary(&status, begin) {
                    return Err(format!("{id} ended with {status}"));
                }
                session.place = Place::Off;
                // Clients wait for the delay that the status asks for. This one waits too long
                // rather than not at all.
                if self.rng.bool() {
                    sleep(self.some(self.most.1 / 50)).await;
                    self.add(desk).await;
                }
            }
        }
        Ok(())
    }

    fn session(&mut self, id: &str) -> Result<&mut Followed, String> {
        let mut sessions = self.sessions.iter_mut();
        let session = sessions.find(|session| session.id == id);
        session
            .filter(|session| session.place != Place::Off)
            .ok_or(format!("{id} is not asked for"))
    }

    /// Begins a stream. To be told nothing twice, the client adds the sessions that it knows, also
    /// those that are over, before all others are found.
    async fn begin(&mut self, desk: &Desk) {
        self.add(desk).await;
        let mut known = Vec::new();
        for session in self.sessions.iter_mut().filter(|session| session.ledger.is_over) {
            session.place = Place::On;
            known.push(WatchSessionRequest {
                resume_token: session.ledger.resume_token.clone(),
                ..request::watch(&session.id)
            });
        }
        self.add_all(desk, known).await;
    }

    async fn add_all(&self, desk: &Desk, known: Vec<WatchSessionRequest>) {
        if self.all_since.is_some() {
            desk.send(add_all_since(self.all_since, known)).await;
        }
    }

    /// Whether `all` has found a session that does not exist.
    fn is_strange(&self, id: &str) -> bool {
        let is_known = id.is_empty()
            || id == poison::POISON
            || id == BARRIER
            || self.sessions.iter().any(|s| s.id == id);
        self.all_since.is_some() && !is_known
    }

    /// Adds all sessions that are not on the stream and not over, with one message or several.
    async fn add(&mut self, desk: &Desk) {
        let mut requests = Vec::new();
        for session in &mut self.sessions {
            if session.place == Place::Off && !session.ledger.is_over {
                session.place = Place::On;
                session.begin = session.ledger.begin();
                let seconds = if self.rng.bool() { 30 } else { 0 };
                requests.push(WatchSessionRequest {
                    resume_token: session.ledger.resume_token.clone(),
                    follow_after_end: Some(prost_types::Duration { seconds, nanos: 0 }),
                    ..request::watch(&session.id)
                });
            }
        }
        if self.is_poisoned {
            requests.push(request::watch(poison::POISON));
        }
        while !requests.is_empty() {
            let rest = requests.split_off(self.rng.usize(1..=requests.len()));
            let heartbeat_interval = Some(prost_types::Duration { seconds: 5, nanos: 0 });
            // What is asked for twice is watched once.
            let twice = self.rng.choice(&requests).cloned();
            requests.extend(twice);
            let add = Add { sessions: requests, heartbeat_interval, ..Add::default() };
            desk.send(WatchSessionsRequest { action: Some(Action::Add(add)) }).await;
            requests = rest;
        }
    }

    async fn remove(&mut self, desk: &Desk) {
        let place = self.rng.usize(0..self.sessions.len());
        let session = &mut self.sessions[place];
        // What `all` has not found yet is not removed: it would be found later.
        let is_there = session.begin == Begin::Under || self.all_since.is_none();
        if session.place == Place::On && is_there && !session.ledger.is_over {
            session.place = Place::Removed;
            self.removed.push_back(session.id.clone());
            desk.remove(&[&session.id]).await;
            desk.add(&[BARRIER]).await;
        }
    }
}
