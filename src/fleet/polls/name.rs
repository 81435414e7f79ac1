//! The name of a shared poll in Redis, and the key that its replies are sealed with.

use ring::hmac;
use secrecy::zeroize::Zeroizing;

use crate::{
    credential::Credential,
    fleet::{seal::Seal, settings::hex},
    model::SessionId,
};

/// The name of the poll of a session with a credential.
///
/// Only a replica that has the fleet's key, the session's id and the credential can make it, and open
/// what is sealed under it.
pub(super) struct SessionName {
    text: String,
    seal: Seal,
}

impl SessionName {
    /// `scope` names the vendor's API and the service's own client. All replicas that share the
    /// service's credential have the same one.
    pub fn new(
        key: &hmac::Key,
        scope: &str,
        credential: &Credential,
        session: &SessionId,
    ) -> Option<Self> {
        let mut secret = Zeroizing::new(Vec::new());
        for part in [scope, credential.authorization().unwrap_or_default(), session.as_str()] {
            // The lengths keep two different triples apart.
            secret.extend_from_slice(&part.len().to_be_bytes());
            secret.extend_from_slice(part.as_bytes());
        }
        let purpose = |purpose: &[u8]| Zeroizing::new([purpose, &secret].concat());
        let text = hmac::sign(key, &purpose(b"gotoassist-grpc fleet poll name 1 "));
        let seal = Seal::new(key, &purpose(b"gotoassist-grpc fleet poll seal 1 "))?;
        Some(Self { text: hex(text.as_ref()), seal })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Seals a reply under its number, so that it cannot be replayed under another one.
    pub fn close(&self, number: u64, reply: &[u8]) -> Option<Vec<u8>> {
        self.seal.close(&number.to_string(), reply)
    }

    pub fn open(&self, number: u64, sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        self.seal.open(&number.to_string(), sealed)
    }
}
