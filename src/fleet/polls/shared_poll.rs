//! The part of one poll in the fleet. It holds the lease of the session, or follows the replica that
//! does.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, OptionFuture};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Published,
    link::{Link, Membership, Notice, number},
    message::{Message, Numbered},
    name::SessionName,
    outbox::{self, Digest, LIFETIME, Outbox, Publication, Publisher},
    record::Record,
    role::Role,
};
use crate::{
    clock::Clock,
    fleet::{account::AccountError, metric, milliseconds},
};

/// Redis forgets the replies this long after nobody polls the session any more.
const LIFETIME_RELEASED: Duration = Duration::from_mins(10);

/// How long others have to take a lease that was released because the vendor does not answer here.
const TURN: Duration = Duration::from_millis(1200);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Another replica has published a reply.
    Reply(Published),
    /// Another replica asks for a poll, for this reason.
    Hint(String),
    /// [`SharedPoll::may_ask`] may have changed.
    Role,
}

type Asking = BoxFuture<'static, Result<Vec<Vec<u8>>, AccountError>>;

/// A question to Redis that is under way.
enum Exchange {
    Take(Asking),
    Publish(Asking, outbox::Published),
    Release(Asking),
}

/// The part of one poll in the fleet.
pub(super) struct Member {
    link: Arc<Link>,
    name: Arc<SessionName>,
    clock: Clock,
    registration: u64,
    inbox: mpsc::UnboundedReceiver<Notice>,
    outbox: Arc<Outbox>,
    role: Role,
    exchange: Option<Exchange>,
    /// Whether to ask who has the lease, and for the replies that were missed.
    must_take: bool,
    /// When to take a lease that nobody else has taken.
    take_at: Option<Instant>,
    must_release: bool,
    /// The number of the latest reply that this poll knows, and what it says.
    number: u64,
    digest: Option<Digest>,
    events: VecDeque<Event>,
}

impl Member {
    pub fn new(link: Arc<Link>, name: SessionName, clock: Clock, outbox: Arc<Outbox>) -> Self {
        let (registration, inbox) = link.add(name.text());
        metric::add_poll(Role::Alone.name());
        let mut member = Self {
            link,
            name: Arc::new(name),
            clock,
            registration,
            inbox,
            outbox,
            role: Role::Alone,
            exchange: None,
            must_take: false,
            take_at: None,
            must_release: false,
            number: 0,
            digest: None,
            events: VecDeque::new(),
        };
        member.check();
        member
    }

    /// Whether this replica asks the vendor.
    pub fn may_ask(&self) -> bool {
        match &self.role {
            Role::Alone => !self.link.has_left(),
            Role::Holder(..) => true,
            Role::Joining(_) | Role::Follower(..) => false,
        }
    }

    /// Asks the replica that polls to do so sooner.
    pub fn hint(&self, source: &str) {
        if let Role::Follower(..) = self.role {
            let (session, source) = (self.name.text().to_owned(), source.to_owned());
            self.link.send(&Message::Hint { session, source });
        }
    }

    /// Waits for the next event. Nothing is lost if this is dropped and called again.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.start_exchange();
            tokio::select! {
                result = answer(&mut self.exchange) => self.finish(result),
                Some(notice) = self.inbox.recv() => self.hear(notice),
                () = self.outbox.changed.notified() => {}
                Some(()) = OptionFuture::from(self.take_at.map(sleep_until)) => {
                    self.take_at = None;
                    self.must_take = true;
                }
            }
        }
    }

    fn start_exchange(&mut self) {
        if self.exchange.is_some() {
            return;
        }
        let session = self.name.text().to_owned();
        if self.must_take && self.role != Role::Alone {
            self.must_take = false;
            let more = vec![milliseconds(LIFETIME), self.number.to_string().into_bytes()];
            self.exchange = Some(Exchange::Take(self.asking("take", session, more)));
            return;
        }
        match self.role.clone() {
            Role::Holder(_, fence) if self.must_release => {
                self.must_release = false;
                let more = release(&self.link, &session, fence);
                self.exchange = Some(Exchange::Release(self.asking("release", session, more)));
            }
            Role::Holder(membership, fence) => {
                let publication = self.publisher(&membership, fence).next(&self.outbox);
                let Some(Publication { arguments, after }) = publication else { return };
                let asking = self.asking("publish", session, arguments);
                self.exchange = Some(Exchange::Publish(asking, after));
            }
            // The first reply waits until it is known who polls.
            Role::Joining(_) => {}
            Role::Follower(..) | Role::Alone => self.outbox.clear(),
        }
    }

    fn asking(&self, action: &'static str, session: String, more: Vec<Vec<u8>>) -> Asking {
        let link = self.link.clone();
        Box::pin(async move { link.ask(action, Some(&session), more).await })
    }

    fn publisher<'a>(&'a self, membership: &'a Membership, fence: u64) -> Publisher<'a> {
        let Self { link, name, number, digest, .. } = self;
        Publisher { link, name, membership, fence, number: *number, digest: *digest }
    }

    fn finish(&mut self, result: Result<Vec<Vec<u8>>, AccountError>) {
        let Some(exchange) = self.exchange.take() else { return };
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.link.fail(error);
                return self.set_role(Role::Alone);
            }
        };
        let done = match exchange {
            Exchange::Take(_) => self.took(&answer),
            Exchange::Publish(_, publication) => self.published(&answer, publication),
            Exchange::Release(_) => {
                if let Role::Holder(membership, _) = self.role.clone() {
                    self.take_at = Some(Instant::now() + TURN);
                    self.set_role(Role::Follower(membership, None));
                }
                Some(())
            }
        };
        if done.is_none() {
            self.link.fail(AccountError::Malformed);
            self.set_role(Role::Alone);
        }
    }

    fn took(&mut self, answer: &[Vec<u8>]) -> Option<()> {
        let membership = match &self.role {
            Role::Alone => return Some(()),
            Role::Joining(membership)
            | Role::Holder(membership, _)
            | Role::Follower(membership, _) => membership.clone(),
        };
        let [granted, fence, holder, replies @ ..] = answer else { return None };
        let fence = number(fence)?;
        let holder = String::from_utf8(holder.clone()).ok()?;
        self.take_at = None;
        // Later replies were published while this replica was joined.
        let must_be_confirmed = matches!(self.role, Role::Joining(_));
        for reply in replies {
            self.apply(Numbered::read(reply)?, must_be_confirmed);
        }
        let is_granted = granted == b"1";
        if is_granted && !matches!(self.role, Role::Holder(..)) {
            metric::count_lease();
        }
        self.set_role(if is_granted {
            Role::Holder(membership, fence)
        } else {
            Role::Follower(membership, Some(holder))
        });
        Some(())
    }

    fn published(&mut self, answer: &[Vec<u8>], publication: outbox::Published) -> Option<()> {
        match answer {
            [granted] if granted == b"1" => {
                (self.number, self.digest) = (publication.number, publication.digest);
                self.must_release = publication.hands_over && self.link.has_others();
            }
            // Another replica has the lease.
            [_] => self.must_take = true,
            _ => return None,
        }
        Some(())
    }

    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Check => self.check(),
            Notice::Reply(reply) if reply.number <= self.number => {}
            Notice::Reply(reply) => match &self.role {
                // The answer of the script will have it.
                Role::Alone | Role::Joining(_) => {}
                Role::Follower(..) if reply.number == self.number + 1 => self.apply(reply, false),
                // A reply is missing, or another replica has taken the lease.
                Role::Follower(..) => self.must_take = true,
                Role::Holder(..) => self.note_rival(&reply),
            },
            Notice::Released => {
                // Others go first after this replica has released it.
                if matches!(self.role, Role::Follower(..)) && self.take_at.is_none() {
                    self.must_take = true;
                }
            }
            Notice::Hint(source) => {
                if matches!(self.role, Role::Holder(..)) {
                    self.events.push_back(Event::Hint(source));
                }
            }
            Notice::Missed(replica) => {
                if matches!(&self.role, Role::Follower(_, holder) if holder.as_ref() == Some(&replica))
                {
                    self.must_take = true;
                }
            }
        }
    }

    /// A reply with a number that this holder has not given. It may be its own one whose publication is
    /// not confirmed yet.
    fn note_rival(&mut self, reply: &Numbered) {
        let is_own = matches!(
            &self.exchange,
            Some(Exchange::Publish(_, publication)) if publication.number == reply.number
        );
        if !is_own {
            self.must_take = true;
        }
    }

    /// Joins, or goes on alone.
    fn check(&mut self) {
        let Some(membership) = self.link.membership() else {
            self.exchange = None;
            return self.set_role(Role::Alone);
        };
        match &self.role {
            Role::Joining(current) | Role::Holder(current, _) if *current == membership => {}
            Role::Follower(current, holder) if *current == membership => {
                self.must_take |= holder.as_ref().is_some_and(|holder| !self.link.lives(holder));
            }
            Role::Alone | Role::Joining(_) | Role::Holder(..) | Role::Follower(..) => {
                self.exchange = None;
                self.must_take = true;
                self.set_role(Role::Joining(membership));
            }
        }
    }

    fn set_role(&mut self, role: Role) {
        if self.role != role {
            metric::remove_poll(self.role.name());
            metric::add_poll(role.name());
            self.role = role;
            self.events.push_back(Event::Role);
        }
    }

    /// Passes a reply on, if a replica of this fleet has written it and it was not seen yet.
    /// `must_be_confirmed` if its times may be of another clock than the present one of Redis.
    fn apply(&mut self, reply: Numbered, must_be_confirmed: bool) {
        let Numbered { number, sealed } = reply;
        if number <= self.number {
            return;
        }
        let record = self.name.open(number, sealed).and_then(|text| Record::read(&text));
        let (Some(record), Some(clock)) = (record, self.link.clock()) else {
            return self.link.reject();
        };
        self.number = number;
        self.digest = record.content.digest();
        if must_be_confirmed && !self.link.is_confirmed(&record.publisher) {
            return;
        }
        self.events.push_back(Event::Reply(Published::new(record, &clock, self.clock)));
    }
}

/// The arguments that release a lease.
fn release(link: &Link, session: &str, fence: u64) -> Vec<Vec<u8>> {
    let message = Message::Released { session: session.to_owned() }.write();
    vec![
        milliseconds(LIFETIME_RELEASED),
        fence.to_string().into_bytes(),
        link.channel().into_bytes(),
        message,
    ]
}

impl Drop for Member {
    /// Publishes the last replies, and gives the lease back.
    fn drop(&mut self) {
        self.link.remove(self.name.text(), self.registration);
        metric::remove_poll(self.role.name());
        let Role::Holder(membership, fence) = self.role.clone() else { return };
        let mut last = Vec::new();
        let unfinished = match self.exchange.take() {
            Some(Exchange::Publish(asking, publication)) => {
                (self.number, self.digest) = (publication.number, publication.digest);
                Some(asking)
            }
            Some(Exchange::Take(_) | Exchange::Release(_)) | None => None,
        };
        while let Some(publication) = self.publisher(&membership, fence).next(&self.outbox) {
            (self.number, self.digest) = (publication.after.number, publication.after.digest);
            last.push(publication.arguments);
        }
        let (link, name) = (self.link.clone(), self.name.clone());
        self.link.send_off(Box::pin(async move {
            if let Some(unfinished) = unfinished {
                let _ = unfinished.await;
            }
            let session = Some(name.text());
            for more in last {
                let _ = link.ask("publish", session, more).await;
            }
            let more = release(&link, name.text(), fence);
            if let Err(error) = link.ask("release", session, more).await {
                // The lease ends when this replica joins again.
                link.fail(error);
            }
        }));
    }
}

async fn answer(exchange: &mut Option<Exchange>) -> Result<Vec<Vec<u8>>, AccountError> {
    match exchange {
        Some(Exchange::Take(asking) | Exchange::Publish(asking, _) | Exchange::Release(asking)) => {
            asking.await
        }
        None => pending().await,
    }
}
