//! The replies that this replica got, on their way to the other ones.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    link::{Link, Membership},
    message::{Message, Numbered},
    name::SessionName,
    record::{Content, Record, Reply},
};
use crate::fleet::milliseconds;

/// Redis forgets a lease and its replies when nobody has used it for this long.
pub(super) const LIFETIME: Duration = Duration::from_hours(1);

/// The most replies that wait to be published. With more, the oldest ones are dropped, as if there had
/// been no request.
const LONGEST_OUTBOX: usize = 16;

/// The replies that this replica got and has not published yet.
#[derive(Default)]
pub struct Outbox {
    replies: Mutex<VecDeque<Own>>,
    pub(super) changed: Notify,
}

/// A reply that this replica got.
pub(super) struct Own {
    reply: Reply,
    sent_at: Instant,
    answered_at: Instant,
    /// Whether another replica should try.
    hands_over: bool,
}

impl Outbox {
    /// Adds the reply to a request that was sent at `sent_at`. `hands_over` asks another replica to
    /// try.
    pub fn push(&self, reply: Reply, sent_at: Instant, hands_over: bool) {
        let mut replies = self.replies.lock();
        if replies.len() == LONGEST_OUTBOX {
            replies.pop_front();
        }
        replies.push_back(Own { reply, sent_at, answered_at: Instant::now(), hands_over });
        drop(replies);
        self.changed.notify_one();
    }

    pub(super) fn clear(&self) {
        self.replies.lock().clear();
    }
}

/// What a reply says.
pub(super) type Digest = [u8; 32];

/// The arguments that publish a reply, and what is true afterwards.
pub(super) struct Publication {
    pub arguments: Vec<Vec<u8>>,
    pub after: Published,
}

/// What is true when a reply is published.
#[derive(Clone, Copy)]
pub(super) struct Published {
    pub number: u64,
    pub digest: Option<Digest>,
    pub hands_over: bool,
}

/// Who publishes, and after which reply.
pub(super) struct Publisher<'a> {
    pub link: &'a Link,
    pub name: &'a SessionName,
    pub membership: &'a Membership,
    pub fence: u64,
    pub number: u64,
    pub digest: Option<Digest>,
}

impl Publisher<'_> {
    /// Takes the oldest reply and seals it. `None` if there is none, or if this replica is alone now.
    pub fn next(&self, outbox: &Outbox) -> Option<Publication> {
        let own = outbox.replies.lock().pop_front()?;
        let clock = self.link.clock()?;
        let content = Content::of(&own.reply);
        let digest = content.digest();
        let record = Record {
            publisher: self.membership.name().to_owned(),
            sent: clock.time_of(own.sent_at),
            answered: clock.time_of(own.answered_at),
            content,
        };
        let number = self.number + 1;
        let sealed = self.name.close(number, &record.write()?)?;
        let publication = self.link.next_publication();
        let head = Message::head(self.name.text(), self.membership.name(), publication);
        let replaces = digest.is_some() && digest == self.digest;
        let arguments = vec![
            milliseconds(LIFETIME),
            self.fence.to_string().into_bytes(),
            number.to_string().into_bytes(),
            self.link.channel().into_bytes(),
            head.into_bytes(),
            Numbered { number, sealed }.write(),
            u8::from(replaces).to_string().into_bytes(),
        ];
        let after = Published { number, digest, hands_over: own.hands_over };
        Some(Publication { arguments, after })
    }
}
