//! The connection of this replica to the others: it shows them that it lives, hears what they send, and
//! tells the polls.

mod task;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use ring::hmac;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, timeout},
};

use super::{
    message::{Message, Numbered},
    redis_clock::RedisClock,
    replicas::Replicas,
    store::Store,
};
use crate::{
    fleet::{
        account::AccountError,
        metric,
        seal::{self, Seal},
    },
    model::SessionId,
};

/// A replica that has not shown for this long that it lives loses its leases.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// The longest wait for an answer of Redis. Without one, the replica goes on alone.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

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
    replicas: Replicas,
    polls: HashMap<String, Poll>,
    /// The number of replies that this replica has published.
    publications: u64,
    registrations: u64,
}

struct Poll {
    registration: u64,
    inbox: mpsc::UnboundedSender<Notice>,
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

    /// Counts a value that no replica of this fleet has written.
    pub fn reject(&self) {
        metric::count_rejection();
        seal::warn_once(&self.has_warned);
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
        self.state.lock().replicas.lives(replica)
    }

    /// Whether the clock of Redis has not jumped since the replica of this name joined. A restart of
    /// Redis interrupts each replica, and it joins again under another name.
    pub fn is_confirmed(&self, replica: &str) -> bool {
        self.state.lock().replicas.is_confirmed(replica)
    }

    /// Whether there are other replicas.
    pub fn has_others(&self) -> bool {
        self.state.lock().replicas.count() > 1
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
        self.tell(|| Notice::Check);
    }

    fn tell(&self, notice: impl Fn() -> Notice) {
        for poll in self.state.lock().polls.values() {
            // A poll that has ended hears nothing.
            let _ = poll.inbox.send(notice());
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
