//! Encrypts the tokens that callers keep for the service: resume tokens and page tokens.
//!
//! A sealed text is the base64url of nonce ‖ ChaCha20-Poly1305(content). It belongs to a subject,
//! which is the associated data, so opening fails for an altered text and for a text of another
//! subject. The nonce is derived from the subject and the content, so that equal content gives an
//! equal text.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
    hmac,
};

/// The key of all tokens. Replicas with the same key accept each other's tokens.
pub(super) struct Seal {
    key: LessSafeKey,
    nonce_key: hmac::Key,
}

impl Seal {
    /// Uses the operator's key, which may be any text. Without it, uses a built-in key, which
    /// anybody can read in the source. With the built-in key, damaged tokens and tokens of other
    /// subjects are still detected. A forged token gives its author no additional rights.
    #[expect(clippy::expect_used, reason = "a SHA-256 is as long as the key of ChaCha20-Poly1305")]
    pub fn new(key: Option<&str>) -> Self {
        let key = key.unwrap_or("gotoassist-grpc resume token");
        let secret = digest(&SHA256, key.as_bytes());
        let nonce_key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
        let key = UnboundKey::new(&CHACHA20_POLY1305, secret.as_ref()).expect("32 bytes");
        Self { key: LessSafeKey::new(key), nonce_key }
    }

    /// Seals `content` for `subject`, and adds `prefix` in front.
    pub fn seal(&self, prefix: &str, subject: &[u8], mut content: Vec<u8>) -> String {
        let mut mac = hmac::Context::with_key(&self.nonce_key);
        mac.update(subject);
        mac.update(&content);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&mac.sign().as_ref()[..NONCE_LEN]);
        let sealed = self.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            associated(subject),
            &mut content,
        );
        let Ok(tag) = sealed else { return String::new() };
        let bytes = [&nonce[..], &content, tag.as_ref()].concat();
        let mut text = String::with_capacity(prefix.len() + bytes.len() * 4 / 3 + 3);
        text.push_str(prefix);
        BASE64_URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        text
    }

    /// Opens a text that was sealed for `subject`, without its prefix. Returns `None` if it was
    /// altered or made up, or belongs to another subject.
    pub fn open(&self, subject: &[u8], text: &str) -> Option<Vec<u8>> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.key.open_in_place(nonce, associated(subject), sealed).ok()?.len();
        bytes.truncate(NONCE_LEN + length);
        Some(bytes.split_off(NONCE_LEN))
    }
}

fn associated(subject: &[u8]) -> Aad<impl AsRef<[u8]>> {
    Aad::from(digest(&SHA256, subject))
}
