//! Polls the watched sessions. All watchers that watch a session with the same credential share one
//! poll.
//!
//! The feed is given a function to read sessions with, so it knows neither HTTP nor gRPC and runs
//! on paused time. Watchers see the newest state; there is no queue. A slow watcher finds the
//! status changes that it missed in the [`History`](crate::model::History).

mod account;
mod hint;
mod listing;
mod metric;
mod poll;
mod poll_interval;
mod poll_result;
mod poller;
mod registry;
mod request;
mod revision;
mod roster;
mod settings;
mod state;
mod subscribe;
mod subscription;
mod sweep;
mod unstable_fields;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

pub use hint::HintSource;
pub use poll_interval::PollIntervals;
pub use request::{Ask, BoxedListReply, BoxedReply, Keep, Key, List, ListAsk, Reply, list, read};
pub use revision::{Difference, Revision};
pub use roster::{Found, Roster};
pub use settings::Settings;
pub use state::{Overview, State};
pub use subscription::{Subscriber, Subscription, View};

use crate::{
    clock::Clock,
    credential::Credential,
    model::{Known, Session, SessionId, Validation, Validator},
    traffic::{Identities, RequestContext},
    wire::{Answer, Error},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use registry::Registry;
use subscribe::NewSubscription;

/// All polls of the process.
#[derive(Clone)]
pub struct Feed(Arc<Registry>);

impl Feed {
    /// Creates a feed that reads sessions with `read` and keeps `identities` up to date. With `list`,
    /// it also reads the vendor's list, and polls those sessions first that the list shows to have
    /// changed.
    pub fn new(
        read: impl Fn(Key, Ask) -> BoxedReply + Send + Sync + 'static,
        list: Option<Box<List>>,
        settings: Settings,
        clock: Clock,
        identities: Identities,
    ) -> Self {
        metric::describe();
        Self(Arc::new_cyclic(|registry: &Weak<Registry>| {
            let registry = registry.clone();
            let link = settings.fleet.start(move |session| {
                if let Some(registry) = registry.upgrade() {
                    registry.hint(session, HintSource::Callback);
                }
            });
            let (read, polls) = (Box::new(read), Mutex::default());
            Registry { read, list, settings, clock, identities, polls, link }
        }))
    }

    /// Subscribes to the poll of a session. Starts the poll if none is running. `known` is what the
    /// watcher knows from an earlier watch.
    ///
    /// Returns once there is a fresh answer that is at least as new as what the watcher knows and
    /// as what a unary call returned. If the vendor gives no such answer, the method returns the
    /// error and starts no poll.
    pub async fn subscribe(
        &self,
        key: &Key,
        context: RequestContext,
        known: Option<&Known>,
    ) -> Result<Subscription, Error> {
        NewSubscription::new(&self.0, key, known, context.cause.clone()).start(context).await
    }

    /// Reports the answer that a unary call returned. Watches never return an older state after it.
    pub fn note_unary_answer(&self, key: &Key, answer: &Answer<Arc<Session>>) {
        if let Some(poller) = self.0.running(key) {
            poller.note_unary_answer(answer, &self.0.settings);
        }
    }

    /// The latest answer of a poll, unless it is older than `max_staleness`. Another replica may run
    /// the poll.
    pub async fn latest(&self, key: &Key, max_staleness: Duration) -> Option<Answer<Arc<Session>>> {
        let answer = if let Some(poller) = self.0.running(key) {
            let observed_at = poller.up_to_date_at()?;
            let content = poller.state.borrow().revision.session.clone();
            Answer { content, observed_at }
        } else {
            let Key { credential, session } = key;
            let answer = self.0.settings.fleet.latest(credential, session).await?.reply.ok()?;
            let validation = Validator::new(session, None).validate_first(&answer.content);
            Some(answer).filter(|_| validation == Validation::Accepted)?
        };
        (self.0.age(answer.observed_at) <= max_staleness).then_some(answer)
    }

    /// Subscribes to the sessions of an account that are open at `since` or later.
    ///
    /// The list of the vendor shows them. A session is found if it began within the last 24 hours
    /// or since `since`. `None` if the feed does not read the list.
    pub fn roster(&self, credential: &Credential, since: Timestamp) -> Option<Roster> {
        self.0.list.as_ref()?;
        let entries = Arc::new(roster::Entries::new(since));
        let mut polls = self.0.polls.lock();
        let account = polls.account(credential);
        account.add_roster(&entries);
        sweep::start_if_due(&self.0, account);
        Some(Roster(entries))
    }

    /// Polls the session with this id or token sooner, under each credential that watches it.
    pub fn hint(&self, session: &SessionId, source: HintSource) {
        self.0.hint(session, source);
        if source == HintSource::Callback {
            self.0.settings.fleet.send_callback(session);
        }
    }

    /// The running polls.
    pub fn overview(&self) -> Vec<Overview> {
        let polls = self.0.polls.lock();
        polls.all().map(|(session, poller)| poller.overview(session.clone())).collect()
    }

    /// Brings the gauges of polls and watches up to date.
    pub fn set_gauges(&self) {
        metric::set_gauges(&self.overview());
    }

    /// Tells all watchers, including new ones, to reconnect to another server.
    pub fn close(&self) {
        let mut polls = self.0.polls.lock();
        polls.is_closing = true;
        for (_, poller) in polls.all() {
            poller.state.send_modify(|state| state.is_closing = true);
        }
        self.0.settings.fleet.leave();
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("polls", &self.0.polls.lock().all().count()).finish()
    }
}
