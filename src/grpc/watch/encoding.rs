//! The shared encodings. Each revision is encoded once for all its watchers.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;

use crate::{feed::Revision, grpc::session, model::Known, proto::encoded::EncodedWatchResponse};

/// The encodings of the revisions in use. All clones share them.
#[derive(Clone, Default)]
pub(super) struct Encodings(Arc<Mutex<HashMap<usize, Entry>>>);

struct Entry {
    /// Entries are found by the address of the revision. This reference prevents that the address
    /// is used again.
    revision: Weak<Revision>,
    encoding: Arc<Encoding>,
}

impl Encodings {
    /// Returns the encoding of a revision.
    pub fn of(&self, revision: &Arc<Revision>) -> Arc<Encoding> {
        let address = Arc::as_ptr(revision).addr();
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(&address) {
            return entry.encoding.clone();
        }
        // New revisions are rare because of the vendor's quota, so this scan is cheap enough.
        entries.retain(|_, entry| entry.revision.strong_count() > 0);
        let entry = Entry { revision: Arc::downgrade(revision), encoding: Arc::default() };
        entries.entry(address).or_insert(entry).encoding.clone()
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
        let encode = || session::to_proto((*revision.session).clone()).encode_to_vec().into();
        self.session.get_or_init(encode).clone()
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
    fn a_revision_has_one_encoding_while_it_is_in_use() {
        let encodings = Encodings::default();
        let (one, other) = (revision(), revision());
        assert!(Arc::ptr_eq(&encodings.of(&one), &encodings.of(&one.clone())));
        assert!(!Arc::ptr_eq(&encodings.of(&one), &encodings.of(&other)));
        drop(one);
        encodings.of(&revision());
        assert_eq!(encodings.0.lock().len(), 2);
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
