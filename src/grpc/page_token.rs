//! The codec of page tokens. A token seals where the page before ended and the window of the pages,
//! so that any replica can give the next page. It belongs to the other arguments of the request. It
//! begins with `p1.`

use jiff::Timestamp;

use super::seal::Seal;
use crate::{
    config::secret::trimmed,
    model::{
        ListQuery, ListWindow,
        session_page::{Key, Position},
    },
};

const PREFIX: &str = "p1.";

/// Begins the subject of every page token. No subject of a resume token has a control character.
const SUBJECT: &[u8] = b"page\0";

/// Encodes and decodes page tokens. Replicas with the same key accept each other's tokens.
pub struct PageTokenCodec(Seal);

/// The text is not a page token of these arguments. It was altered or made up, or it belongs to other
/// arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a page token of a list with these arguments")]
pub struct InvalidPageToken;

impl PageTokenCodec {
    /// Creates a codec with the operator's key, which may be any text, or with a built-in key.
    pub fn new(key: Option<&str>) -> Self {
        Self(Seal::new(key))
    }

    /// Encodes the token for the page after `position` in the list of `window`. The arguments are
    /// those of the first page.
    pub fn encode(&self, arguments: &ListQuery, window: ListWindow, position: &Position) -> String {
        self.0.seal(PREFIX, &subject(arguments), encode_content(window, position))
    }

    /// Decodes a token for these arguments. Ignores a line end, which a token from a file may have.
    pub fn decode(
        &self,
        arguments: &ListQuery,
        token: &str,
    ) -> Result<(ListWindow, Position), InvalidPageToken> {
        let sealed = trimmed(token).strip_prefix(PREFIX);
        let content = sealed.and_then(|sealed| self.0.open(&subject(arguments), sealed));
        content.and_then(|content| decode_content(&content)).ok_or(InvalidPageToken)
    }
}

impl std::fmt::Debug for PageTokenCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PageTokenCodec")
    }
}

/// The arguments that must be the same for all pages: all except the length of the page.
fn subject(arguments: &ListQuery) -> Vec<u8> {
    let ListQuery { from, to, statuses, page_size: _, after: _ } = arguments;
    let mut subject = SUBJECT.to_vec();
    for time in [from, to] {
        let time = time.map_or(i128::MIN, Timestamp::as_nanosecond);
        subject.extend(time.to_be_bytes());
    }
    subject.push(statuses.number());
    subject
}

fn encode_content(window: ListWindow, position: &Position) -> Vec<u8> {
    let times = [window.from.as_nanosecond(), window.to.as_nanosecond(), position.started_at];
    let mut content = times.map(i128::to_be_bytes).concat();
    match &position.key {
        Key::Id(id) => {
            content.push(0);
            content.extend(id.as_bytes());
        }
        Key::Hash(hash) => {
            content.push(1);
            content.extend(hash);
        }
    }
    content
}

fn decode_content(content: &[u8]) -> Option<(ListWindow, Position)> {
    let (from, content) = content.split_first_chunk()?;
    let (to, content) = content.split_first_chunk()?;
    let (started_at, content) = content.split_first_chunk()?;
    let key = match content.split_first()? {
        (0, id) => Key::Id(str::from_utf8(id).ok()?.to_owned()),
        (1, hash) => Key::Hash(hash.try_into().ok()?),
        _ => return None,
    };
    let time = |bytes: &[u8; 16]| Timestamp::from_nanosecond(i128::from_be_bytes(*bytes)).ok();
    let window = ListWindow { from: time(from)?, to: time(to)? };
    Some((window, Position { started_at: i128::from_be_bytes(*started_at), key }))
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Status;

    fn arguments(from: Option<i64>, to: Option<i64>, statuses: &[Status]) -> ListQuery {
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        let statuses = statuses.iter().copied().collect();
        ListQuery { from: from.map(time), to: to.map(time), statuses, page_size: 1, after: None }
    }

    /// Any content: a window and a position.
    fn content(random: &mut Rng) -> (ListWindow, Position) {
        let mut time =
            || Timestamp::from_second(random.i64(-60_000_000_000..250_000_000_000)).unwrap();
        let window = ListWindow { from: time(), to: time() };
        let key = if random.bool() {
            Key::Id((0..random.usize(..40)).map(|_| random.char(..)).collect())
        } else {
            Key::Hash(random.u128(..).to_be_bytes())
        };
        (window, Position { started_at: random.i128(..), key })
    }

    fn any_statuses(random: &mut Rng) -> Vec<Status> {
        Status::ALL.into_iter().filter(|_| random.bool()).collect()
    }

    // `PROPTEST_CASES` asks for more cases.
    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(ProptestConfig::default().cases.max(10_000))
        })]

        /// No text makes the codec panic, and no random text is a valid token.
        #[test]
        fn decoding_any_text_does_not_panic(seed in any::<u64>().no_shrink()) {
            let random = &mut Rng::with_seed(seed);
            let token: String = match random.u8(..2) {
                0 => (0..random.usize(..40)).map(|_| random.char(..)).collect(),
                _ => (0..random.usize(..200)).map(|_| random.alphanumeric()).collect(),
            };
            let codec = PageTokenCodec::new(None);
            for token in [format!("{PREFIX}{token}"), token] {
                let decoded = codec.decode(&arguments(None, None, &[]), &token);
                prop_assert!(decoded.is_err(), "forged by chance: {token}");
            }
        }

        /// No decrypted content makes the codec panic.
        #[test]
        fn decoding_any_content_does_not_panic(seed in any::<u64>().no_shrink()) {
            let random = &mut Rng::with_seed(seed);
            let content: Vec<_> = (0..random.usize(..90)).map(|_| random.u8(..)).collect();
            let _ = decode_content(&content);
            let (window, position) = self::content(random);
            let mut content = encode_content(window, &position);
            prop_assert_eq!(decode_content(&content), Some((window, position)));
            content.truncate(random.usize(..content.len()));
            let _ = decode_content(&content);
        }

        #[test]
        fn an_altered_token_is_refused(seed in any::<u64>().no_shrink()) {
            let random = &mut Rng::with_seed(seed);
            let codec = PageTokenCodec::new(Some("key"));
            let asked = arguments(None, None, &any_statuses(random));
            let (window, position) = content(random);
            let token = codec.encode(&asked, window, &position);
            let place = random.usize(..token.len());
            let mut altered = token.clone();
            match random.u8(..3) {
                0 => altered.truncate(place),
                1 => altered.insert(place, random.alphanumeric()),
                _ => altered.replace_range(place..=place, &random.alphanumeric().to_string()),
            }
            if altered != token {
                prop_assert_eq!(codec.decode(&asked, &altered), Err(InvalidPageToken));
            }
        }

        #[test]
        fn a_token_is_valid_only_for_its_arguments_and_key(seed in any::<u64>().no_shrink()) {
            let random = &mut Rng::with_seed(seed);
            let mut time = || random.bool().then(|| random.i64(0..1_000_000));
            let (from, to) = (time(), time());
            let statuses = any_statuses(random);
            let (one, two) = (PageTokenCodec::new(Some("key")), PageTokenCodec::new(Some("key")));
            let asked = arguments(from, to, &statuses);
            let (window, position) = content(random);
            let token = one.encode(&asked, window, &position);
            let next = ListQuery { page_size: 7, after: Some(position.clone()), ..asked.clone() };
            prop_assert_eq!(two.decode(&next, &token), Ok((window, position)));
            let toggled = Status::ALL[random.usize(..Status::ALL.len())];
            let others = Status::ALL.into_iter().filter(|status| {
                statuses.contains(status) != (*status == toggled)
            });
            for other in [
                arguments(Some(from.map_or(0, |from| from + 1)), to, &statuses),
                arguments(from, to.xor(Some(1)), &statuses),
                arguments(from, to, &others.collect::<Vec<_>>()),
            ] {
                prop_assert_eq!(two.decode(&other, &token), Err(InvalidPageToken));
            }
            prop_assert_eq!(PageTokenCodec::new(None).decode(&asked, &token), Err(InvalidPageToken));
        }
    }
}
