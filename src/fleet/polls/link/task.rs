//! The task that keeps a replica joined: it shows that the replica lives, and hears the others.

use std::{collections::HashMap, pin::pin, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{ANSWER_LIMIT, Call, LEASE, Link, Notice, number};
use crate::fleet::{
    account::AccountError,
    metric, milliseconds,
    polls::{
        message::Message,
        replicas::{Life, Replicas},
        store::Messages,
    },
};

/// How often a replica shows that it lives.
const BEAT: Duration = Duration::from_millis(500);

/// The pause before a replica that is alone tries to join again.
const AWAY: Duration = Duration::from_millis(250);

impl Link {
    /// Keeps this replica joined until it leaves. `call` polls a session after a callback of the vendor.
    pub async fn run(&self, call: Call) {
        let Some(mut errands) = self.inbox.lock().take() else { return };
        while !self.state.lock().has_left {
            match self.join().await {
                Ok(messages) => self.stay(messages, &mut errands, &call).await,
                Err(error) => metric::count_failure(error),
            }
            self.set_alone();
            // They are of no use to replicas that they do not reach.
            while errands.try_recv().is_ok() {}
            if !self.state.lock().has_left {
                sleep(AWAY).await;
            }
        }
    }

    /// Listens first, so that no reply is missed between the reading of the keys and the listening.
    async fn join(&self) -> Result<Messages, AccountError> {
        let messages = timeout(ANSWER_LIMIT, self.store.listen(self.channel())).await;
        let messages = messages.map_err(|_| AccountError::Timeout)??;
        self.state.lock().generation += 1;
        self.beat().await?;
        self.state.lock().is_joined = true;
        self.tell_all();
        Ok(messages)
    }

    async fn stay(
        &self,
        mut messages: Messages,
        errands: &mut mpsc::UnboundedReceiver<BoxFuture<'static, ()>>,
        call: &Call,
    ) {
        // What failed before this replica joined does not count.
        let _ = self.interrupted.notified().now_or_never();
        let mut beats = pin!(self.beat_until_failure());
        let mut running = FuturesUnordered::new();
        while !self.has_left() {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.hear(&message, call),
                    None => return metric::count_failure(AccountError::Connection),
                },
                error = &mut beats => return metric::count_failure(error),
                Some(errand) = errands.recv() => running.push(errand),
                Some(()) = running.next() => {}
                () = self.interrupted.notified() => {
                    if !self.has_left() {
                        return;
                    }
                }
            }
        }
        let message = Message::Left { replica: self.name() }.write();
        // The others take the leases over at once, or a little later without this.
        let _ = self.ask("leave", None, vec![self.channel().into_bytes(), message]).await;
    }

    /// Shows again and again that this replica lives. Returns why Redis does not answer.
    async fn beat_until_failure(&self) -> AccountError {
        loop {
            sleep(BEAT).await;
            if let Err(error) = self.beat().await {
                return error;
            }
        }
    }

    /// Shows the others that this replica lives, and learns who else does.
    async fn beat(&self) -> Result<(), AccountError> {
        let publications = self.state.lock().publications.to_string().into_bytes();
        let answer = self.ask("beat", None, vec![milliseconds(LEASE), publications]).await?;
        let replicas = answer.chunks_exact(3).map(|entry| {
            let name = String::from_utf8(entry[0].clone()).ok()?;
            let life = Life { expiry: number(&entry[1])?, published: number(&entry[2])? };
            Some((name, life))
        });
        let replicas: Option<HashMap<_, _>> = replicas.collect();
        let replicas = replicas.ok_or(AccountError::Malformed)?;
        self.note_replicas(&replicas);
        Ok(())
    }

    fn note_replicas(&self, latest: &HashMap<String, Life>) {
        let changes = self.state.lock().replicas.update(latest);
        for replica in changes.missed {
            self.tell(|| Notice::Missed(replica.clone()));
        }
        if changes.has_gone {
            self.tell_all();
        }
    }

    fn hear(&self, message: &[u8], call: &Call) {
        match Message::read(message) {
            Some(Message::Reply { session, replica, publication, reply }) => {
                self.state.lock().replicas.count_message(&replica, publication);
                self.tell_poll(&session, Notice::Reply(reply));
            }
            Some(Message::Released { session }) => self.tell_poll(&session, Notice::Released),
            Some(Message::Left { replica }) => {
                self.state.lock().replicas.remove(&replica);
                self.tell_all();
            }
            Some(Message::Hint { session, source }) => {
                self.tell_poll(&session, Notice::Hint(source));
            }
            Some(Message::Callback { process, sealed }) if process != self.process => {
                let opened = self.seal.open(&process, sealed);
                let text = opened.as_ref().and_then(|text| std::str::from_utf8(text).ok());
                match text.and_then(|text| text.parse().ok()) {
                    Some(session) => call(&session),
                    None => self.reject(),
                }
            }
            Some(Message::Callback { .. }) => {}
            None => self.reject(),
        }
    }

    fn set_alone(&self) {
        let mut state = self.state.lock();
        state.is_joined = false;
        state.clock = None;
        state.replicas = Replicas::default();
        drop(state);
        self.tell_all();
    }
}
