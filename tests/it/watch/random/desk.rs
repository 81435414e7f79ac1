//! A client that follows many sessions on one stream. It leaves, returns, stalls, changes servers,
//! and adds and removes sessions, until all of them are over.

use std::time::Duration;

use fastrand::Rng;
use gotoassist_grpc::{
    grpc::session::to_proto,
    proto::{
        WatchSessionRequest, WatchSessionsRequest,
        watch_sessions_request::{Action, Add},
    },
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{CALM_AFTER, Life, Servers, Told, is_temporary};
use crate::{
    kit::request,
    watch::{
        ledger::{Begin, Ledger},
        poison,
        world::End,
    },
    watch_sessions::desk::{self, Desk},
};

/// A session that the client follows.
struct Followed {
    life: Life,
    ledger: Ledger,
    begin: Begin,
    place: Place,
}

/// Whether the session is on the current stream.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Off,
    On,
    /// It was removed. After so many heartbeats of the stream, no message of it can be under way.
    Removed(u8),
}

/// The client.
struct Client {
    rng: Rng,
    sessions: Vec<Followed>,
    /// Whether it also asks for the session that always fails.
    is_poisoned: bool,
    start: Instant,
    told: Told,
}

/// Follows all sessions of the world.
pub async fn follow(
    mut rng: Rng,
    servers: Servers,
    lives: Vec<Life>,
    is_poisoned: bool,
) -> Result<Told, String> {
    let start = Instant::now();
    let sessions = lives.into_iter().map(|life| Followed {
        ledger: Ledger::of(life.stages.iter().map(|(_, state)| to_proto(state.clone())).collect()),
        life,
        begin: Begin::Fresh,
        place: Place::Off,
    });
    sleep(Duration::from_secs(rng.u64(0..100))).await;
    let mut client =
        Client { rng, sessions: sessions.collect(), is_poisoned, start, told: Told::default() };
    while client.sessions.iter().any(|session| !session.ledger.is_over) {
        let server = client.rng.choice(&*servers.lock().unwrap()).unwrap().clone();
        let opened = Desk::open_as(&server, "owner").await;
        drop(server);
        match opened {
            Ok(desk) => client.stream(desk).await?,
            Err(status) if is_temporary(&status, Begin::Under) => {
                sleep(Duration::from_secs(client.rng.u64(1..5))).await;
            }
            Err(status) => return Err(format!("the stream cannot start: {status}")),
        }
    }
    for Followed { life, ledger, .. } in &client.sessions {
        let statuses = life.stages.iter().map(|(_, session)| session.status() as i32);
        let mut truth: Vec<i32> = statuses.collect();
        truth.dedup();
        ledger.check_against(&truth)?;
    }
    Ok(client.told)
}

impl Client {
    /// One stream, until it ends or the client leaves.
    async fn stream(&mut self, mut desk: Desk) -> Result<(), String> {
        for session in &mut self.sessions {
            session.place = Place::Off;
        }
        self.rng.shuffle(&mut self.sessions);
        self.add(&desk).await;
        let is_calm = self.start.elapsed() > CALM_AFTER;
        let patience = if is_calm {
            Duration::from_hours(1)
        } else {
            Duration::from_secs(self.rng.u64(1..200))
        };
        let leaves_at = Instant::now() + patience;
        while self.sessions.iter().any(|session| !session.ledger.is_over) {
            if !is_calm {
                match self.rng.u8(0..30) {
                    0 => sleep(Duration::from_secs(self.rng.u64(1..150))).await,
                    1 => self.remove(&desk).await,
                    _ => {}
                }
            }
            match timeout_at(leaves_at, desk.any()).await {
                Err(_) => return Ok(()),
                Ok(Ok(told)) => self.enter(&desk, told).await?,
                Ok(Err(End::Error(status))) if is_temporary(&status, Begin::Under) => {
                    return Ok(());
                }
                Ok(Err(end)) => return Err(format!("the stream ended with {end:?}")),
            }
        }
        Ok(())
    }

    async fn enter(&mut self, desk: &Desk, told: desk::Told) -> Result<(), String> {
        self.told.messages += 1;
        match told {
            desk::Told::Heartbeat(heartbeat) => {
                let most = self.sessions.len() + usize::from(self.is_poisoned);
                if usize::try_from(heartbeat.session_count).unwrap() > most {
                    return Err(format!("{heartbeat:?} of {most} sessions"));
                }
                for session in &mut self.sessions {
                    if let Place::Removed(heartbeats) = &mut session.place {
                        *heartbeats += 1;
                        if *heartbeats == 2 {
                            session.place = Place::Off;
                        }
                    }
                }
                self.add(desk).await;
            }
            desk::Told::Update(id, _) | desk::Told::Ended(id, _) if id == poison::POISON => {}
            desk::Told::Update(id, update) => {
                let session = self.session(&id)?;
                session
                    .ledger
                    .enter(session.begin, &update)
                    .map_err(|fault| format!("{id}: {fault}"))?;
                session.begin = Begin::Under;
            }
            desk::Told::Ended(id, status) => {
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
                    sleep(Duration::from_secs(self.rng.u64(1..5))).await;
                    self.add(desk).await;
                }
            }
        }
        Ok(())
    }

    fn session(&mut self, id: &str) -> Result<&mut Followed, String> {
        let mut sessions = self.sessions.iter_mut();
        let session = sessions.find(|session| session.life.id == id);
        session
            .filter(|session| session.place != Place::Off)
            .ok_or(format!("{id} is not asked for"))
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
                    ..request::watch(&session.life.id)
                });
            }
        }
        if self.is_poisoned {
            requests.push(request::watch(poison::POISON));
        }
        while !requests.is_empty() {
            let rest = requests.split_off(self.rng.usize(1..=requests.len()));
            let heartbeat_interval = Some(prost_types::Duration { seconds: 10, nanos: 0 });
            // What is asked for twice is watched once.
            let twice = self.rng.choice(&requests).cloned();
            requests.extend(twice);
            let add = Add { sessions: requests, heartbeat_interval };
            desk.send(WatchSessionsRequest { action: Some(Action::Add(add)) }).await;
            requests = rest;
        }
    }

    async fn remove(&mut self, desk: &Desk) {
        let place = self.rng.usize(0..self.sessions.len());
        let session = &mut self.sessions[place];
        if session.place == Place::On && !session.ledger.is_over {
            session.place = Place::Removed(0);
            desk.remove(&[&session.life.id]).await;
        }
    }
}
