//! The shared encodings. Each revision is encoded once for all its watchers.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, OnceLock, Weak},
};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use prost::Message as _;

use crate::{feed::Revision, grpc::session, model::Known, proto::encoded::EncodedWatchResponse};

/// The most encodings. A revision is sent to all its watchers soon after it came, so the encodings
/// of older ones would only take memory.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// The encodings of the latest revisions. All clones share them.
#[derive(Clone)]
pub(in crate::grpc) struct Encodings(Arc<Mutex<LruCache<usize, Entry>>>);

struct Entry {
    /// Entries are found by the address of the revision. This reference prevents that the address
    /// is used again.
    _revision: Weak<Revision>,
    encoding: Arc<Encoding>,
}

impl Encodings {
    /// Returns the encoding of a revision.
    pub(super) fn of(&self, revision: &Arc<Revision>) -> Arc<Encoding> {
        let address = Arc::as_ptr(revision).addr();
        let entry = || Entry { _revision: Arc::downgrade(revision), encoding: Arc::default() };
        self.0.lock().get_or_insert(address, entry).encoding.clone()
    }
}

impl Default for Encodings {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MOST))))
    }
}

impl fmt::Debug for Encodings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encodings").field("revisions", &self.0.lock().len()).finish()
    }
}

/// The encoding of one revision.
#[derive(Default)]
pub(super) struct Encoding {
    session: OnceLock<Bytes>,
    /// The latest resume token. Usually all watchers know the same, so they share it.
    token: Mutex<Option<(Known, Bytes)>>,
    /// The message for watchers whose latest message had the previous revision, and what these
    /// watchers know after it.
    next: OnceLock<(Known, EncodedWatchResponse)>,
}

impl Encoding {
    /// Returns the encoded session. `revision` must be the revision of this encoding.
    pub fn session(&self, revision: &Revision) -> Bytes {
        self.session.get_or_init(|| encode_session(revision)).clone()
    }

    /// Returns the resume token for a watcher that was sent the revision and knows `known`. Calls
    /// `seal` only if the latest token was for different content. Equal content gives an equal
    /// token.
    pub fn resume_token(&self, known: &Known, seal: impl FnOnce() -> String) -> Bytes {
        let mut latest = self.token.lock();
        match &*latest {
            Some((same, token)) if same == known => token.clone(),
            _ => latest.insert((*known, seal().into())).1.clone(),
        }
    }

    /// Returns the message for a watcher that was sent the previous revision and knows `known`
    /// after this message. Reuses the message of the first such watcher if it is the same for this
    /// one. Otherwise calls `make`.
    pub fn next(
        &self,
        revision: &Revision,
        known: &Known,
        is_terminal: bool,
        make: impl FnOnce() -> EncodedWatchResponse,
    ) -> EncodedWatchResponse {
        match self.next.get() {
            Some((same, message)) if same == known && message.is_terminal == is_terminal => {
                message.clone()
            }
            Some(_) => make(),
            None => {
                let message = make();
                // A watcher that began with an unusual resume token may know something else. Its
                // message must not be shared.
                if known.observed_at == revision.observed_at {
                    // If another watcher has set it in the meantime, that message is equally good.
                    let _ = self.next.set((*known, message.clone()));
                }
                message
            }
        }
    }
}

/// Encodes the session of a revision.
pub(super) fn encode_session(revision: &Revision) -> Bytes {
    session::to_proto((*revision.session).clone()).encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        model::{Progress, Session},
        proto::encoded::WatchResponseParts,
    };

    fn revision() -> Arc<Revision> {
        Arc::new(Revision::first(Arc::default(), Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn each_revision_has_one_encoding() {
        let encodings = Encodings::default();
        let (one, other) = (revision(), revision());
        assert!(Arc::ptr_eq(&encodings.of(&one), &encodings.of(&one.clone())));
        assert!(!Arc::ptr_eq(&encodings.of(&one), &encodings.of(&other)));
    }

    #[test]
    fn only_the_latest_encodings_are_kept() {
        let encodings = Encodings::default();
        let first = revision();
        let encoding = encodings.of(&first);
        let others: Vec<_> = (0..MOST.get()).map(|_| revision()).collect();
        for other in &others {
            encodings.of(other);
        }
        assert_eq!(encodings.0.lock().len(), MOST.get());
        assert!(!Arc::ptr_eq(&encodings.of(&first), &encoding));
    }

    #[test]
    fn watchers_that_know_the_same_share_a_message() {
        let (encodings, revision) = (Encodings::default(), revision());
        let known = Known {
            digest: revision.digest,
            progress: Progress::of(&Session::default()),
            observed_at: revision.observed_at,
            over_since: None,
        };
        let other = Known { over_since: Some(Timestamp::UNIX_EPOCH), ..known };
        let mut count = 0;
        for known in [known, known, other, known] {
            let make = || {
                count += 1;
                WatchResponseParts::default().into()
            };
            encodings.of(&revision).next(&revision, &known, false, make);
        }
        assert_eq!(count, 2);
        let token = encodings.of(&revision).resume_token(&known, || "token".to_owned());
        assert_eq!(token, encodings.of(&revision).resume_token(&known, || "another".to_owned()));
    }
}
