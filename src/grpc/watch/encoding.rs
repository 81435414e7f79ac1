//! What the watchers of a session share: each revision is encoded once for all who are told of it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;

use crate::{feed::Revision, grpc::session, model::Known, proto::encoded::EncodedWatchResponse};

/// The encodings of the readings that are in use. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Encodings(Arc<Mutex<HashMap<usize, Entry>>>);

struct Entry {
    /// It keeps the address of the revision, by which the entry is found, from being used again.
    revision: Weak<Revision>,
    encoding: Arc<Encoding>,
}

impl Encodings {
    /// The encoding of a revision.
    pub fn of(&self, revision: &Arc<Revision>) -> Arc<Encoding> {
        let address = Arc::as_ptr(revision).addr();
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(&address) {
            return entry.encoding.clone();
        }
        // The vendor's quota keeps new readings few, so there is time for this.
        entries.retain(|_, entry| entry.revision.strong_count() > 0);
        let entry = Entry { revision: Arc::downgrade(revision), encoding: Arc::default() };
        entries.entry(address).or_insert(entry).encoding.clone()
    }
}

impl fmt::Debug for Encodings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encodings").field("readings", &self.0.lock().len()).finish()
    }
}

/// A revision, encoded.
#[derive(Default)]
pub(super) struct Encoding {
    session: OnceLock<Bytes>,
    /// The token that was sealed last: mostly all watchers know the same.
    token: Mutex<Option<(Known, Bytes)>>,
    /// The message for those who were told of the revision before, and what they know after it.
    next: OnceLock<(Known, EncodedWatchResponse)>,
}

impl Encoding {
    /// The session of `revision`, which this is the encoding of.
    pub fn session(&self, revision: &Revision) -> Bytes {
        let encode = || session::to_proto((*revision.session).clone()).encode_to_vec().into();
        self.session.get_or_init(encode).clone()
    }

    /// The resume token of a watcher who was told of the revision and knows `known`, sealed by `seal`
    /// only if it differs from that of the watcher before. The same of one session gives the same token.
    pub fn resume_token(&self, known: &Known, seal: impl FnOnce() -> String) -> Bytes {
        let mut latest = self.token.lock();
        match &*latest {
            Some((same, token)) if same == known => token.clone(),
            _ => latest.insert((*known, seal().into())).1.clone(),
        }
    }

    /// The message for a watcher who is told of `revision` after the one before it, and knows `known`
    /// then: that of the first such watcher if it fits this one too, else made by `make`.
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
                // What a strange resume token has brought along is not what the others know.
                if known.observed_at == revision.observed_at {
                    // Another watcher may have been quicker, and theirs is as good.
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
    fn a_reading_has_one_encoding_as_long_as_it_is_in_use() {
        let encodings = Encodings::default();
        let (one, other) = (revision(), revision());
        assert!(Arc::ptr_eq(&encodings.of(&one), &encodings.of(&one.clone())));
        assert!(!Arc::ptr_eq(&encodings.of(&one), &encodings.of(&other)));
        drop(one);
        encodings.of(&revision());
        assert_eq!(encodings.0.lock().len(), 2);
    }

    #[test]
    fn those_who_know_the_same_are_sent_what_was_encoded_for_the_first() {
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
