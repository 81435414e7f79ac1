//! The polls of a fleet: one replica polls a session with a credential, and the watchers of all
//! replicas live on its replies.
//!
//! The replica that polls has the *lease* of the session. It publishes each reply of the vendor, and
//! the others, the *followers*, apply the same replies in the same order to polls of their own. So each
//! replica validates answers, notices changes and judges outages exactly as if it had asked the vendor
//! itself. What Redis loses, delays or makes up can cost requests and time, but cannot change what
//! watchers are told:
//!
//! * A reply is sealed. Nobody without the fleet's key, the session's id and the credential can read or
//!   write one. It has a number, and a follower applies none with a number that is not new.
//! * A reply that a follower applies counts as sent a little earlier than it was, so it never undoes a
//!   newer answer that the follower got itself. Replicas tell each other times of the clock of Redis.
//!   That clock may jump only when Redis restarts, which interrupts all replicas. So a replica that has
//!   just joined uses no reply from before, unless the one that published it was not interrupted.
//! * A lease has a fencing number. A replica that was stopped, and whose lease another one has taken,
//!   cannot publish any more. It is valid only while its replica shows every half second that it lives,
//!   so one lost replica costs no command for each session.
//! * Messages may be lost. The replies are in a list as well. A follower reads it when a number is
//!   missing, when a replica has published more than was heard, and after each interruption.
//!
//! A replica that does not reach Redis polls what its own watchers need. So does one that hears nothing of
//! the replica with the lease for long: that one may be a forgery, or hang. `link` is the connection to the
//! others, and `shared_poll` the part of one poll. `polls.lua` runs in Redis.

mod link;
mod message;
mod name;
mod outbox;
mod record;
mod redis_clock;
mod replicas;
mod role;
mod shared_poll;
mod store;

use std::{fmt, future::pending, sync::Arc, time::Duration};

use jiff::SignedDuration;
use ring::hmac;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

pub use outbox::Outbox;
pub use record::Reply;
pub use shared_poll::Event;
pub use store::{Answer as StoreAnswer, Messages, Store};

use crate::{clock::Clock, credential::Credential, model::SessionId, wire::Answer};
use link::Link;
use message::Numbered;
use name::SessionName;
use record::{Content, Record};
use redis_clock::RedisClock;
use shared_poll::Member;

use super::metric;

/// The script of the shared polls.
pub const SCRIPT: &str = include_str!("polls.lua");

/// How long a call or a new watch waits for another replica's answer. Then it asks the vendor.
const PATIENCE: Duration = Duration::from_millis(50);

/// The polls that the replicas share. By default there are no other replicas. Cheap to clone.
#[derive(Clone, Default)]
pub struct SharedPolls(Option<Arc<Shared>>);

struct Shared {
    link: Arc<Link>,
    scope: String,
    clock: Clock,
}

/// A reply that another replica got.
#[derive(Debug)]
pub struct Published {
    /// The reply. The time of an answer is by our clock.
    pub reply: Reply,
    /// When the request was sent, or a little earlier.
    pub sent_at: Instant,
}

impl Published {
    fn new(record: Record, redis: &RedisClock, clock: Clock) -> Self {
        let sent_at = redis.instant_of(record.sent);
        let age = redis.instant_of(record.answered).elapsed();
        let age = SignedDuration::try_from(age).unwrap_or_default();
        let reply = match record.content {
            Content::Session(session) => Ok(Answer {
                content: Arc::new(session.into_session()),
                observed_at: clock.now().saturating_sub(age).unwrap_or_default(),
            }),
            Content::Error(failure) => Err(failure.to_error()),
        };
        Self { reply, sent_at }
    }
}

impl SharedPolls {
    /// The polls that replicas with the same `key` and `scope` share through `store`. `scope` names the
    /// vendor's API and the service's own client. `prefix` begins all keys, and `process` is a random
    /// number.
    pub fn new(
        store: Arc<dyn Store>,
        prefix: String,
        key: hmac::Key,
        scope: String,
        process: u64,
        clock: Clock,
    ) -> Self {
        metric::describe_polls();
        let link = Link::new(store, prefix, key, format!("{process:x}"));
        Self(link.map(|link| Arc::new(Shared { link: Arc::new(link), scope, clock })))
    }

    /// Starts the task that keeps this replica joined. `hint` polls a session after a callback that
    /// another replica got. `None` for a process on its own.
    pub(crate) fn start(
        &self,
        hint: impl Fn(&SessionId) + Send + Sync + 'static,
    ) -> Option<AbortOnDropHandle<()>> {
        let link = self.0.as_ref()?.link.clone();
        let run = async move { link.run(Box::new(hint)).await };
        Some(AbortOnDropHandle::new(tokio::spawn(run)))
    }

    /// The part of a new poll in the fleet.
    pub(crate) fn join(
        &self,
        credential: &Credential,
        session: &SessionId,
        outbox: Option<&Arc<Outbox>>,
    ) -> SharedPoll {
        let member = self.0.as_ref().zip(outbox).and_then(|(shared, outbox)| {
            let name = shared.name(credential, session)?;
            Some(Member::new(shared.link.clone(), name, shared.clock, outbox.clone()))
        });
        SharedPoll(member.map(Box::new))
    }

    /// Where a poll puts the replies that it got itself. `None` for a process on its own.
    pub(crate) fn outbox(&self) -> Option<Arc<Outbox>> {
        self.0.as_ref().map(|_| Arc::default())
    }

    /// The latest reply of another replica's poll.
    pub(crate) async fn latest(
        &self,
        credential: &Credential,
        session: &SessionId,
    ) -> Option<Published> {
        let shared = self.0.as_ref()?;
        shared.link.membership()?;
        let name = shared.name(credential, session)?;
        let answer = timeout(PATIENCE, shared.link.ask("read", Some(name.text()), Vec::new()));
        let answer = answer.await.ok()?.ok()?;
        let reply = answer.first().filter(|reply| !reply.is_empty())?;
        let Numbered { number, sealed } = Numbered::read(reply)?;
        let Some(text) = name.open(number, sealed) else {
            shared.link.reject();
            return None;
        };
        let record = Record::read(&text)?;
        let is_confirmed = shared.link.is_confirmed(&record.publisher);
        let clock = shared.link.clock().filter(|_| is_confirmed)?;
        Some(Published::new(record, &clock, shared.clock))
    }

    /// Tells the other replicas that the vendor has called back about a session.
    pub(crate) fn send_callback(&self, session: &SessionId) {
        if let Some(shared) = &self.0 {
            shared.link.send_callback(session);
        }
    }

    /// Gives all leases back. This replica polls nothing more.
    pub(crate) fn leave(&self) {
        if let Some(shared) = &self.0 {
            shared.link.leave();
        }
    }
}

impl Shared {
    fn name(&self, credential: &Credential, session: &SessionId) -> Option<SessionName> {
        SessionName::new(self.link.key(), &self.scope, credential, session)
    }
}

impl fmt::Debug for SharedPolls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPolls").field("is_shared", &self.0.is_some()).finish_non_exhaustive()
    }
}

/// The part of one poll in the fleet. Without a fleet, the poll asks the vendor and nothing happens.
pub(crate) struct SharedPoll(Option<Box<Member>>);

impl SharedPoll {
    /// Whether this replica is to poll.
    pub fn may_ask(&self) -> bool {
        self.0.as_ref().is_none_or(|member| member.may_ask())
    }

    /// Asks the replica that polls to do so sooner.
    pub fn hint(&self, source: &str) {
        if let Some(member) = &self.0 {
            member.hint(source);
        }
    }

    /// Waits for the next event. Nothing is lost if this is dropped and called again.
    pub async fn next(&mut self) -> Event {
        match &mut self.0 {
            Some(member) => member.next().await,
            None => pending().await,
        }
    }
}
