//! Seals what the replicas share, so that only a holder of the key can read or replace it.

use std::sync::atomic::{AtomicBool, Ordering};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use secrecy::zeroize::Zeroizing;
use tracing::warn;

/// Seals values with AES-256-GCM. Each has a random nonce, and is bound to a name.
pub(super) struct Seal(LessSafeKey);

impl Seal {
    /// A seal whose key is made from `key` for one purpose.
    pub fn new(key: &hmac::Key, purpose: &[u8]) -> Option<Self> {
        let key = hmac::sign(key, purpose);
        Some(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).ok()?)))
    }

    pub fn close(&self, name: &str, value: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = value.to_vec();
        let aad = Aad::from(name.as_bytes());
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce_used, aad, &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// Opens a value. `None` if no holder of the key has sealed it under this name.
    pub fn open(&self, name: &str, mut sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, value) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let value = self.0.open_in_place(nonce, Aad::from(name.as_bytes()), value).ok()?;
        Some(Zeroizing::new(value.to_vec()))
    }
}

/// Logs, the first time only, that something could not be opened.
pub(super) fn warn_once(has_warned: &AtomicBool) {
    if !has_warned.swap(true, Ordering::Relaxed) {
        warn!("a value in Redis was not written by a replica of this fleet; it is ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &str) -> Seal {
        Seal::new(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), b"purpose").unwrap()
    }

    #[test]
    fn only_the_same_key_opens_and_nothing_that_was_altered() {
        let sealed = seal("key").close("name", b"hush").unwrap();
        assert!(!sealed.windows(4).any(|part| part == b"hush"));
        assert_eq!(**seal("key").open("name", sealed.clone()).unwrap(), *b"hush");
        assert!(seal("other key").open("name", sealed.clone()).is_none());
        assert!(seal("key").open("other name", sealed.clone()).is_none());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(seal("key").open("name", altered).is_none(), "{place}");
        }
        assert!(seal("key").open("name", b"short".to_vec()).is_none());
    }
}
