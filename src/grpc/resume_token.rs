//! The codec of resume tokens. A token seals what a watcher was last sent, so that any replica can
//! continue the watch. It belongs to its session. It begins with `v1.`

use jiff::Timestamp;

use super::seal::Seal;
use crate::{
    config::secret::trimmed,
    model::{Digest, Known, Progress, SessionId, Status, field::FIELD_COUNT},
};

const PREFIX: &str = "v1.";
const NANOSECONDS_NEVER: i64 = i64::MIN;

/// Encodes and decodes resume tokens. Replicas with the same key accept each other's tokens.
pub struct ResumeTokenCodec(Seal);

/// A decoded `resume_token`.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// A valid token.
    Known(Box<Known>),
    /// A token of a version that this release does not know. The watch then starts from the
    /// beginning.
    OtherVersion,
}

/// The text is not a resume token of this session. It was altered or made up, or it belongs to
/// another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a resume token of this session")]
pub struct InvalidToken;

impl ResumeTokenCodec {
    /// Creates a codec with the operator's key, which may be any text, or with a built-in key.
    pub fn new(key: Option<&str>) -> Self {
        Self(Seal::new(key))
    }

    /// Encodes the token for a watcher of `session` that knows `known`.
    pub fn encode(&self, session: &SessionId, known: &Known) -> String {
        self.0.seal(PREFIX, session.as_str().as_bytes(), encode_content(known))
    }

    /// Decodes a token for `session`. Ignores a line break at the end, because a token from a file
    /// may have one.
    pub fn decode(&self, session: &SessionId, token: &str) -> Result<Decoded, InvalidToken> {
        let token = trimmed(token);
        let Some(sealed) = token.strip_prefix(PREFIX) else {
            return if is_other_version(token) {
                Ok(Decoded::OtherVersion)
            } else {
                Err(InvalidToken)
            };
        };
        let content = self.0.open(session.as_str().as_bytes(), sealed).ok_or(InvalidToken)?;
        decode_content(&content).map(|known| Decoded::Known(Box::new(known))).ok_or(InvalidToken)
    }
}

impl std::fmt::Debug for ResumeTokenCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeTokenCodec")
    }
}

/// Whether the token has the form `v<digits>.<rest>` of another release.
fn is_other_version(token: &str) -> bool {
    let version = token.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    version.is_some_and(|(version, rest)| {
        let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        is_number && version != "1" && !rest.is_empty()
    })
}

fn encode_content(known: &Known) -> Vec<u8> {
    let Known { digest, progress, observed_at, over_since } = known;
    let mut content = Vec::with_capacity(160);
    content.extend(digest.content);
    content.extend(digest.fields.iter().flat_map(|field| field.to_be_bytes()));
    content.push(progress.status as u8);
    content.extend(progress.mark.to_be_bytes());
    content.push(progress.furthest);
    content.extend(nanoseconds(*observed_at).to_be_bytes());
    content.extend(over_since.map_or(NANOSECONDS_NEVER, nanoseconds).to_be_bytes());
    content
}

fn decode_content(content: &[u8]) -> Option<Known> {
    let (digest_content, content) = content.split_first_chunk()?;
    let (field_bytes, content) = content.split_first_chunk::<{ 4 * FIELD_COUNT }>()?;
    let (&[status], content) = content.split_first_chunk()?;
    let (mark, content) = content.split_first_chunk()?;
    let (&[furthest], content) = content.split_first_chunk()?;
    let (observed_at, content) = content.split_first_chunk()?;
    let (over_since, []) = content.split_first_chunk()? else { return None };

    let mut fields = [0; FIELD_COUNT];
    for (field, bytes) in fields.iter_mut().zip(field_bytes.chunks_exact(4)) {
        *field = u32::from_be_bytes(bytes.try_into().ok()?);
    }
    let status = Status::ALL.into_iter().find(|known| *known as u8 == status)?;
    let over_since = match i64::from_be_bytes(*over_since) {
        NANOSECONDS_NEVER => None,
        nanoseconds => Some(Timestamp::from_nanosecond(nanoseconds.into()).ok()?),
    };
    Some(Known {
        digest: Digest { content: *digest_content, fields },
        progress: Progress { status, mark: u32::from_be_bytes(*mark), furthest },
        observed_at: Timestamp::from_nanosecond(i64::from_be_bytes(*observed_at).into()).ok()?,
        over_since,
    })
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_known() -> impl Strategy<Value = Known> {
        let time = || {
            (-377_705_023_201_i64..=253_402_207_200).prop_map(|second| {
                let second = second.clamp(-9_000_000_000, 9_000_000_000);
                Timestamp::from_second(second).unwrap()
            })
        };
        let progress =
            (0..Status::ALL.len(), any::<u32>(), 0_u8..=4).prop_map(|(status, mark, furthest)| {
                Progress { status: Status::ALL[status], mark, furthest }
            });
        let digest = (any::<[u8; 16]>(), any::<[u32; FIELD_COUNT]>())
            .prop_map(|(content, fields)| Digest { content, fields });
        (digest, progress, time(), proptest::option::of(time())).prop_map(
            |(digest, progress, observed_at, over_since)| Known {
                digest,
                progress,
                observed_at,
                over_since,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        /// No text makes the codec panic, and no random text is a valid token.
        #[test]
        fn decoding_any_text_does_not_panic(text in "(v[0-9]{0,3}\\.)?[A-Za-z0-9_.=-]{0,300}|.{0,40}") {
            let session: SessionId = "s".parse().unwrap();
            let decoded = ResumeTokenCodec::new(None).decode(&session, &text);
            prop_assert!(!matches!(decoded, Ok(Decoded::Known(_))), "forged by chance: {text}");
        }

        /// No decrypted content makes the codec panic.
        #[test]
        fn decoding_any_content_does_not_panic(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_content(&content);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn a_token_is_valid_only_for_its_session_and_key(
            known in any_known(),
            session in "[a-z0-9]{1,40}",
            other in "[a-z0-9]{1,40}",
        ) {
            let (one, two) = (ResumeTokenCodec::new(Some("key")), ResumeTokenCodec::new(Some("key")));
            let (session, other): (SessionId, SessionId) =
                (session.parse().unwrap(), other.parse().unwrap());
            let token = one.encode(&session, &known);
            prop_assert_eq!(two.decode(&session, &token), Ok(Decoded::Known(Box::new(known))));
            let in_a_file = format!("\u{feff}{token}\r\n");
            prop_assert_eq!(two.decode(&session, &in_a_file), Ok(Decoded::Known(Box::new(known))));
            if session != other {
                prop_assert_eq!(two.decode(&other, &token), Err(InvalidToken));
            }
            prop_assert_eq!(ResumeTokenCodec::new(None).decode(&session, &token), Err(InvalidToken));
            prop_assert!(token.len() < 256, "{} bytes", token.len());
        }
    }
}
