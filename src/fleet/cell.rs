//! A value that the replicas share through Redis. It is sealed, so that only a holder of the fleet's
//! key can read or replace it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use secrecy::zeroize::Zeroizing;
use tracing::warn;

use super::{account::AccountError, metric};
use crate::credential::token::share::{CLAIM, Claim, Place, Unreachable};

/// The script of a cell.
pub const SCRIPT: &str = include_str!("cell.lua");

/// A value that nobody replaces is forgotten after this time. The vendor's refresh tokens live as
/// long.
const LIFETIME: Duration = Duration::from_hours(24 * 30);

/// Runs the script with these arguments.
pub type Run =
    Arc<dyn Fn(Vec<Vec<u8>>) -> BoxFuture<'static, Result<Reply, AccountError>> + Send + Sync>;

/// What the script answers: a number, the value, and its age in milliseconds.
#[derive(Debug, Default)]
pub struct Reply {
    /// The number of the claim, or whether the value was stored.
    pub number: u64,
    /// The sealed value. Empty if there is none.
    pub value: Vec<u8>,
    /// Its age in milliseconds.
    pub age: u64,
}

/// A shared value.
pub struct Cell {
    run: Run,
    seal: Seal,
    replica: String,
    has_warned: AtomicBool,
}

impl Cell {
    /// The cell with this name. `key` is the key of the fleet, and `replica` the name of this replica.
    pub fn new(run: Run, key: &hmac::Key, name: &str, replica: &str) -> Option<Self> {
        let seal = Seal::new(key, name)?;
        Some(Self { run, seal, replica: replica.to_owned(), has_warned: AtomicBool::new(false) })
    }

    async fn ask(&self, action: &str, more: Vec<Vec<u8>>) -> Result<Reply, Unreachable> {
        let mut arguments = vec![action.into(), self.replica.clone().into_bytes()];
        arguments.extend(more);
        (self.run)(arguments).await.map_err(|error| {
            metric::count_failure(error);
            Unreachable
        })
    }

    /// Opens a value. `None` if no replica of this fleet has written it.
    fn open(&self, sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        let value = self.seal.open(sealed);
        if value.is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            warn!("a value in Redis was not written by a replica of this fleet; it is ignored");
        }
        value
    }
}

impl Place for Cell {
    fn claim(&self) -> BoxFuture<'_, Result<Claim, Unreachable>> {
        Box::pin(async {
            let reply = self.ask("claim", vec![milliseconds(CLAIM)]).await?;
            let number = Some(reply.number).filter(|number| *number > 0);
            let sealed = Some(reply.value).filter(|sealed| !sealed.is_empty());
            let value = sealed.and_then(|sealed| self.open(sealed));
            let value = value.map(|value| (value, Duration::from_millis(reply.age)));
            Ok(Claim { value, number })
        })
    }

    fn replace(
        &self,
        claim: u64,
        value: Zeroizing<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move {
            let sealed = self.seal.close(&value).ok_or(Unreachable)?;
            let more = vec![claim.to_string().into(), sealed, milliseconds(LIFETIME)];
            self.ask("replace", more).await.map(drop)
        })
    }

    fn release(&self, claim: u64) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move { self.ask("release", vec![claim.to_string().into()]).await.map(drop) })
    }
}

fn milliseconds(time: Duration) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}

/// Seals values with AES-256-GCM. Each has a random nonce, and is bound to the name of the cell.
struct Seal {
    key: LessSafeKey,
    name: String,
}

impl Seal {
    fn new(key: &hmac::Key, name: &str) -> Option<Self> {
        let purpose = format!("gotoassist-grpc fleet cell 1 {name}");
        let key = hmac::sign(key, purpose.as_bytes());
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).ok()?);
        Some(Self { key, name: name.to_owned() })
    }

    fn close(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = value.to_vec();
        let aad = Aad::from(self.name.as_bytes());
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce_used, aad, &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    fn open(&self, mut sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, value) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = Aad::from(self.name.as_bytes());
        let value = self.key.open_in_place(nonce, aad, value).ok()?;
        Some(Zeroizing::new(value.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &str, name: &str) -> Seal {
        Seal::new(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), name).unwrap()
    }

    #[test]
    fn only_the_same_key_opens_and_nothing_that_was_altered() {
        let sealed = seal("key", "name").close(b"hush").unwrap();
        assert!(!sealed.windows(4).any(|part| part == b"hush"));
        assert_eq!(**seal("key", "name").open(sealed.clone()).unwrap(), *b"hush");
        assert!(seal("other key", "name").open(sealed.clone()).is_none());
        assert!(seal("key", "other name").open(sealed.clone()).is_none());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(seal("key", "name").open(altered).is_none(), "{place}");
        }
        assert!(seal("key", "name").open(b"short".to_vec()).is_none());
    }
}
