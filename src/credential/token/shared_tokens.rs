//! The tokens that replicas share, as they are stored.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use http::HeaderValue;
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tokio::time::Instant;

use super::response::AccessToken;

/// A digest of a secret.
pub(super) type Digest = [u8; 8];

/// The tokens that are in the place.
pub(super) struct Tokens {
    pub access: AccessToken,
    pub earlier: Vec<Digest>,
    pub refresh: SecretString,
}

impl Tokens {
    /// Reads an age in milliseconds, and what [`write`] wrote. `None` if it is something else.
    pub fn read(mut value: &[u8], age: Duration) -> Option<Self> {
        let age = age + Duration::from_millis(value.try_get_u64().ok()?);
        let lifetime = Duration::from_millis(value.try_get_u64().ok()?);
        let count = value.try_get_u8().ok()?;
        let mut earlier = Vec::new();
        for _ in 0..count {
            earlier.push(value.try_get_u64().ok()?.to_be_bytes());
        }
        let length = usize::try_from(value.try_get_u32().ok()?).ok()?;
        let (access, refresh) = value.split_at_checked(length)?;
        let mut header = HeaderValue::from_bytes(access).ok()?;
        header.set_sensitive(true);
        let issued_at = Instant::now().checked_sub(age)?;
        let refresh = std::str::from_utf8(refresh).ok()?.to_owned().into();
        Some(Self { access: AccessToken { header, issued_at, lifetime }, earlier, refresh })
    }

    /// Whether they were bought with this secret, or with one that was bought with it. Otherwise the
    /// operator has given another secret since.
    pub fn come_from(&self, secret: &SecretString) -> bool {
        let digest = digest_of(secret);
        self.earlier.contains(&digest) || digest_of(&self.refresh) == digest
    }
}

pub(super) fn write(
    access: &AccessToken,
    earlier: &[Digest],
    refresh: &SecretString,
) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(Vec::with_capacity(1024));
    value.put_u64(milliseconds(access.lifetime));
    value.put_u8(u8::try_from(earlier.len()).unwrap_or_default());
    for digest in earlier {
        value.put_slice(digest);
    }
    let header = access.header.as_bytes();
    value.put_u32(u32::try_from(header.len()).unwrap_or_default());
    value.put_slice(header);
    value.put_slice(refresh.expose_secret().as_bytes());
    value
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The value is sealed where it is kept, so a short digest is enough to tell secrets apart.
pub(super) fn digest_of(secret: &SecretString) -> Digest {
    let digest = digest(&SHA256, secret.expose_secret().as_bytes());
    let mut short = Digest::default();
    short.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    short
}
