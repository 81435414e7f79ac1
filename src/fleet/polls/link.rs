//! The connection of this replica to the others: it shows them that it lives, hears what they send, and
//! tells the polls.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, OptionFuture},
    stream::{BoxStream, FuturesUnordered},
};
use parking_lot::Mutex;
use ring::hmac;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::warn;

use super::{
    message::{Message, Numbered},
    redis_clock::RedisClock,
};
use crate::{
    fleet::{account::AccountError, metric, seal::Seal},
    model::SessionId,
};

/// A replica that has not shown for this long that it lives loses its leases.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// How often a replica shows that it lives.
const BEAT: Duration = Duration::from_millis(500);

/// The longest wait for an answer of Redis. Without one, the replica goes on alone.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The pause before a replica that is alone tries to join again.
const AWAY: Duration = Duration::from_millis(250);

/// Reaches the server that runs the script and passes messages on.
pub trait Store: Send + Sync {
    /// Runs the script.
    fn run(&self, keys: Vec<String>, arguments: Vec<Vec<u8>>) -> BoxFuture<'static, Answer>;

    /// Receives the messages of a channel from now on. The stream ends when the connection breaks.
    fn listen(&self, channel: String) -> BoxFuture<'static, Result<Messages, AccountError>>;
}

/// What the script answers.
pub type Answer = Result<Vec<Vec<u8>>, AccountError>;

/// The messages of a channel.
pub type Messages = BoxStream<'static, Vec<u8>>;

/// Polls a session sooner.
pub(super) type Call = Box<dyn Fn(&SessionId) + Send + Sync>;

/// What a poll hears.
#[derive(Debug)]
pub(super) enum Notice {
    /// A reply was published.
    Reply(Numbered),
    /// Nobody has the lease any more.
    Released,
    /// A follower asks for a poll.
    Hint(String),
    /// This replica has joined the others, or is alone now, or a replica has gone.
    Check,
    /// A message of this replica was lost.
    Missed(String),
}

pub(super) struct Link {
    store: Arc<dyn Store>,
    /// The beginning of all keys and channels.
    prefix: String,
    key: hmac::Key,
    /// Seals what is not of one session.
    seal: Seal,
    process: String,
    state: Mutex<State>,
    errands: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<BoxFuture<'static, ()>>>>,
    /// Notified when the connection has failed, or when the replica leaves.
    interrupted: Notify,
    has_warned: AtomicBool,
}

#[derive(Default)]
struct State {
    /// How often this replica has joined. It holds its leases under this number, so that those from
    /// before an interruption end.
    generation: u64,
    is_joined: bool,
    has_left: bool,
    clock: Option<RedisClock>,
    /// The replicas that live.
    replicas: HashMap<String, Heard>,
    polls: HashMap<String, Poll>,
    /// The number of replies that this replica has published.
    publications: u64,
    registrations: u64,
}

struct Poll {
    registration: u64,
    inbox: mpsc::UnboundedSender<Notice>,
}

/// What was heard of a replica.
struct Heard {
    /// The end of its life, as it was first heard.
    expiry: u64,
    /// Whether it has shown since then that it lives. Until then, all that is known of it may be from
    /// before a restart of Redis.
    is_confirmed: bool,
    /// No message with a reply is missing up to this number.
    base: u64,
    /// The number of later messages.
    count: u64,
    /// The number of publications at the latest beat.
    published: u64,
}

/// The name under which this replica holds leases, while it is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership(String);

impl Membership {
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Link {
    pub fn new(
        store: Arc<dyn Store>,
        prefix: String,
        key: hmac::Key,
        process: String,
    ) -> Option<Self> {
        let seal = Seal::new(&key, b"gotoassist-grpc fleet messages 1")?;
        let (errands, inbox) = mpsc::unbounded_channel();
        Some(Self {
            store,
            prefix,
            key,
            seal,
            process,
            state: Mutex::default(),
            errands,
            inbox: Mutex::new(Some(inbox)),
            interrupted: Notify::new(),
            has_warned: AtomicBool::new(false),
        })
    }

    /// The key of the fleet.
    pub fn key(&self) -> &hmac::Key {
        &self.key
    }

    pub fn channel(&self) -> String {
        format!("{}:messages", self.prefix)
    }

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
        let mut next_beat = Instant::now() + BEAT;
        let mut beat = OptionFuture::default();
        let mut running = FuturesUnordered::new();
        while !self.has_left() {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.hear(&message, call),
                    None => return metric::count_failure(AccountError::Connection),
                },
                Some(result) = &mut beat => {
                    beat = OptionFuture::default();
                    if let Err(error) = result {
                        return metric::count_failure(error);
                    }
                }
                () = sleep_until(next_beat) => {
                    next_beat = Instant::now() + BEAT;
                    beat = Some(Box::pin(self.beat())).into();
                }
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

    /// Shows the others that this replica lives, and learns who else does.
    async fn beat(&self) -> Result<(), AccountError> {
        let publications = self.state.lock().publications.to_string().into_bytes();
        let answer = self.ask("beat", None, vec![milliseconds(LEASE), publications]).await?;
        let replicas = answer.chunks_exact(3).map(|entry| {
            let name = String::from_utf8(entry[0].clone()).ok()?;
            Some((name, (number(&entry[1])?, number(&entry[2])?)))
        });
        let replicas: Option<HashMap<_, _>> = replicas.collect();
        let replicas = replicas.ok_or(AccountError::Malformed)?;
        self.note_replicas(&replicas);
        Ok(())
    }

    /// Notes the expiry and the number of publications of each replica that lives.
    fn note_replicas(&self, replicas: &HashMap<String, (u64, u64)>) {
        let mut state = self.state.lock();
        let count = state.replicas.len();
        state.replicas.retain(|name, _| replicas.contains_key(name));
        let has_gone = state.replicas.len() < count;
        let mut missed = HashSet::new();
        for (name, &(expiry, published)) in replicas {
            let new =
                || Heard { expiry, is_confirmed: false, base: published, count: 0, published };
            let heard = state.replicas.entry(name.clone()).or_insert_with(new);
            heard.is_confirmed |= heard.expiry != expiry;
            // Messages come on another connection, so those since the latest beat may still come.
            if heard.base + heard.count < heard.published {
                missed.insert(name.clone());
                (heard.base, heard.count) = (heard.published, 0);
            }
            heard.published = published;
        }
        drop(state);
        for replica in missed {
            self.tell(|_| Notice::Missed(replica.clone()));
        }
        if has_gone {
            self.tell_all();
        }
    }

    fn hear(&self, message: &[u8], call: &Call) {
        match Message::read(message) {
            Some(Message::Reply { session, replica, publication, reply }) => {
                self.note_publication(&replica, publication);
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

    fn note_publication(&self, replica: &str, publication: u64) {
        if let Some(heard) = self.state.lock().replicas.get_mut(replica)
            && publication > heard.base
        {
            heard.count += 1;
        }
    }

    /// Counts a value that no replica of this fleet has written.
    pub fn reject(&self) {
        metric::count_rejection();
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            warn!("a value in Redis was not written by a replica of this fleet; it is ignored");
        }
    }

    fn set_alone(&self) {
        let mut state = self.state.lock();
        state.is_joined = false;
        state.clock = None;
        state.replicas.clear();
        drop(state);
        self.tell_all();
    }

    /// Notes that Redis did not answer, so that the replica goes on alone and joins again.
    pub fn fail(&self, error: AccountError) {
        metric::count_failure(error);
        self.interrupted.notify_one();
    }

    /// Gives all leases back and takes no more.
    pub fn leave(&self) {
        self.state.lock().has_left = true;
        self.interrupted.notify_one();
    }

    pub fn has_left(&self) -> bool {
        self.state.lock().has_left
    }

    fn name(&self) -> String {
        format!("{}.{}", self.process, self.state.lock().generation)
    }

    /// `None` if this replica is alone.
    pub fn membership(&self) -> Option<Membership> {
        let is_joined = self.state.lock().is_joined;
        is_joined.then(|| Membership(self.name()))
    }

    /// Whether the replica of this name lives, as far as this one knows.
    pub fn lives(&self, replica: &str) -> bool {
        self.state.lock().replicas.contains_key(replica)
    }

    /// Whether the clock of Redis has not jumped since the replica of this name joined. A restart of
    /// Redis interrupts each replica, and it joins again under another name.
    pub fn is_confirmed(&self, replica: &str) -> bool {
        self.state.lock().replicas.get(replica).is_some_and(|heard| heard.is_confirmed)
    }

    /// Whether there are other replicas.
    pub fn has_others(&self) -> bool {
        self.state.lock().replicas.len() > 1
    }

    pub fn clock(&self) -> Option<RedisClock> {
        self.state.lock().clock
    }

    /// Returns the number of the next publication.
    pub fn next_publication(&self) -> u64 {
        let mut state = self.state.lock();
        state.publications += 1;
        state.publications
    }

    /// Adds a poll, which hears of its session from now on.
    pub fn add(&self, session: &str) -> (u64, mpsc::UnboundedReceiver<Notice>) {
        let (inbox, receiver) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        state.registrations += 1;
        let registration = state.registrations;
        state.polls.insert(session.to_owned(), Poll { registration, inbox });
        (registration, receiver)
    }

    /// Removes a poll, unless a later one has replaced it.
    pub fn remove(&self, session: &str, registration: u64) {
        let mut state = self.state.lock();
        if state.polls.get(session).is_some_and(|poll| poll.registration == registration) {
            state.polls.remove(session);
        }
    }

    /// Does something while the replica is joined, independently of any poll.
    pub fn send_off(&self, errand: BoxFuture<'static, ()>) {
        // Without a task, this replica is ending.
        let _ = self.errands.send(errand);
    }

    /// Tells all replicas that the vendor has called back about a session.
    pub fn send_callback(self: &Arc<Self>, session: &SessionId) {
        let Some(sealed) = self.seal.close(&self.process, session.as_str().as_bytes()) else {
            return;
        };
        self.send(&Message::Callback { process: self.process.clone(), sealed });
    }

    /// Sends a message, which may be lost.
    pub fn send(self: &Arc<Self>, message: &Message) {
        let (link, message) = (self.clone(), message.write());
        self.send_off(Box::pin(async move {
            let more = vec![link.channel().into_bytes(), message];
            if let Err(error) = link.ask("send", None, more).await {
                link.fail(error);
            }
        }));
    }

    /// Runs the script. Returns its answer without the time.
    pub async fn ask(
        &self,
        action: &str,
        session: Option<&str>,
        more: Vec<Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, AccountError> {
        let mut keys = vec![format!("{}:replicas", self.prefix)];
        if let Some(session) = session {
            keys.extend(
                ["lease", "replies"].map(|part| format!("{}:{part}:{session}", self.prefix)),
            );
        }
        let mut arguments = vec![action.into(), self.name().into_bytes()];
        arguments.extend(more);
        let asked = Instant::now();
        let answer = timeout(ANSWER_LIMIT, self.store.run(keys, arguments)).await;
        let mut answer = answer.unwrap_or(Err(AccountError::Timeout))?;
        if answer.is_empty() {
            return Err(AccountError::Malformed);
        }
        let rest = answer.split_off(1);
        let time = number(&answer[0]).ok_or(AccountError::Malformed)?;
        let latest = RedisClock::new(asked, time);
        let mut state = self.state.lock();
        state.clock = Some(state.clock.map_or(latest, |clock| clock.or(latest)));
        Ok(rest)
    }

    fn tell_all(&self) {
        self.tell(|_| Notice::Check);
    }

    fn tell(&self, notice: impl Fn(&str) -> Notice) {
        for (session, poll) in &self.state.lock().polls {
            // A poll that has ended hears nothing.
            let _ = poll.inbox.send(notice(session));
        }
    }

    fn tell_poll(&self, session: &str, notice: Notice) {
        if let Some(poll) = self.state.lock().polls.get(session) {
            let _ = poll.inbox.send(notice);
        }
    }
}

pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(super) fn milliseconds(time: Duration) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}
