//! The secrets that the URL of a callback may have. A file lists them, and it may change while the
//! service runs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use secrecy::zeroize::Zeroizing;
use subtle::{Choice, ConstantTimeEq as _};
use tracing::{error, info};

use crate::config::secret::trimmed;

/// The shortest secret, in bytes.
const MIN_LENGTH: usize = 16;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// The secrets. Only digests are kept.
#[derive(Debug)]
pub struct Secrets {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The newest secret is the first. There is at least one.
    digests: Vec<Digest>,
    /// The content of the file when it was last read. `None` if it could not be read.
    seen: Option<Digest>,
}

/// A secret that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The first one of the file.
    Newest,
    /// Another one of the file.
    Older,
}

/// Why the file of `--callback-secret-file` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// It cannot be read.
    #[error("the file of --callback-secret-file cannot be read")]
    Unreadable(#[source] io::Error),
    /// It is too long.
    #[error("the file of --callback-secret-file is longer than {MAX_FILE} bytes")]
    TooLong,
    /// It has no secret.
    #[error("the file of --callback-secret-file has no secret")]
    Empty,
    /// The secret of a line (counted from 1) is too short to be safe.
    #[error(
        "line {0} of the file of --callback-secret-file has a secret of less than {MIN_LENGTH} bytes"
    )]
    TooShort(usize),
    /// The secret of a line (counted from 1) would change in a URL.
    #[error(
        "line {0} of the file of --callback-secret-file has a character that a URL does not keep as \
         it is: a secret may have letters, digits, `-`, `.`, `_` and `~`"
    )]
    Character(usize),
}

impl Secrets {
    /// Reads the secrets of a file.
    pub fn open(path: &Path) -> Result<Self, SecretsError> {
        let text = read(path)?;
        let state = State { digests: parse(&text)?, seen: Some(digest_of(&text)) };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// Checks the secret of a URL. Compares its digest with all digests in constant time, so that
    /// the time reveals neither a part of a secret nor which one it is.
    pub(super) fn check(&self, segment: &str) -> Option<Known> {
        let given = Zeroizing::new(percent_decode_str(segment).collect::<Vec<u8>>());
        let given = digest_of(&given);
        let state = self.state.lock();
        let mut equal = state.digests.iter().map(|known| known.ct_eq(&given));
        let is_newest = equal.next().unwrap_or(Choice::from(0));
        let is_older = equal.fold(Choice::from(0), |found, this| found | this);
        match (bool::from(is_newest), bool::from(is_older)) {
            (true, _) => Some(Known::Newest),
            (false, true) => Some(Known::Older),
            (false, false) => None,
        }
    }

    /// Reads the file again if it has changed. Returns whether there are new secrets. If the file
    /// cannot be used, the earlier secrets stay valid. This method blocks, because a file system
    /// may be slow. It holds no lock while it reads.
    pub(super) fn reload(&self) -> bool {
        let text = read(&self.path);
        let seen = text.as_ref().ok().map(|text| digest_of(text));
        let secrets = text.and_then(|text| parse(&text));
        let mut state = self.state.lock();
        if seen == state.seen {
            return false;
        }
        state.seen = seen;
        match secrets {
            Ok(digests) => {
                info!(secrets = digests.len(), "callback secrets reloaded");
                state.digests = digests;
                true
            }
            Err(problem) => {
                let source = std::error::Error::source(&problem).map(ToString::to_string);
                error!(
                    %problem, source,
                    "callback secrets not reloaded; the earlier secrets stay valid"
                );
                false
            }
        }
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    let mut array = Digest::default();
    array.copy_from_slice(digest(&SHA256, bytes).as_ref());
    array
}

/// Reads the whole file. Never reads more than the limit, whatever kind of file it is.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    let file = File::open(path).map_err(SecretsError::Unreadable)?;
    let mut text = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(SecretsError::Unreadable)?;
    let is_too_long = u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE);
    if is_too_long { Err(SecretsError::TooLong) } else { Ok(text) }
}

/// Parses one secret for each line. Lines that begin with `#` are comments.
fn parse(text: &[u8]) -> Result<Vec<Digest>, SecretsError> {
    let not_text =
        |error| SecretsError::Unreadable(io::Error::new(io::ErrorKind::InvalidData, error));
    let text = std::str::from_utf8(text).map_err(not_text)?;
    // The text is not trimmed first, because empty lines count for the line numbers.
    let lines = text.trim_start_matches('\u{feff}').lines().map(trimmed).enumerate();
    let secrets = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let digests: Vec<_> = secrets
        .map(|(index, secret)| match secret {
            secret if !secret.bytes().all(is_kept) => Err(SecretsError::Character(index + 1)),
            secret if secret.len() < MIN_LENGTH => Err(SecretsError::TooShort(index + 1)),
            secret => Ok(digest_of(secret.as_bytes())),
        })
        .collect::<Result<_, _>>()?;
    if digests.is_empty() { Err(SecretsError::Empty) } else { Ok(digests) }
}

/// Whether every URL keeps this byte as it is (RFC 3986 §2.3).
fn is_kept(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NEW: &str = "0123456789abcdef-._~";
    const OLD: &str = "fedcba9876543210";

    fn open(text: &str) -> Result<Secrets, SecretsError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets");
        fs::write(&path, text).unwrap();
        Secrets::open(&path)
    }

    #[test]
    fn the_first_secret_is_the_newest_and_all_are_valid() {
        let text = format!("\u{feff}# callbacks\r\n\r\n  {NEW}\r\n# until June\r\n{OLD}\r\n");
        let secrets = open(&text).unwrap();
        assert_eq!(secrets.check(NEW), Some(Known::Newest));
        assert_eq!(secrets.check(OLD), Some(Known::Older));
        assert_eq!(
            secrets.check("%30123456789abcdef%2D._%7e"),
            Some(Known::Newest),
            "the same URL"
        );
        for wrong in ["", "0", &NEW[1..], &format!("{NEW}x"), &NEW.to_uppercase(), "# callbacks"] {
            assert_eq!(secrets.check(wrong), None, "{wrong}");
        }
        for wrong in [format!("{NEW}%0A"), format!("{NEW}%"), format!("{NEW}%00"), "%ff".into()] {
            assert_eq!(secrets.check(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_that_is_not_safe_is_refused_with_its_line() {
        let short = format!("{NEW}\n\n{}\n", &OLD[1..]);
        assert!(matches!(open(&short), Err(SecretsError::TooShort(3))));
        for character in ["/", "?", "%", "+", "=", " ", "é", "\u{7f}"] {
            let text = format!("# secret\n{OLD}{character}{OLD}\n");
            assert!(matches!(open(&text), Err(SecretsError::Character(2))), "{character}");
        }
        for empty in ["", "\n \n", "# nobody\n"] {
            assert!(matches!(open(empty), Err(SecretsError::Empty)), "{empty}");
        }
        assert!(matches!(open(&NEW.repeat(5_000)), Err(SecretsError::TooLong)));
        assert!(matches!(Secrets::open(Path::new("/no/file")), Err(SecretsError::Unreadable(_))));
        // This file never ends.
        assert!(matches!(Secrets::open(Path::new("/dev/zero")), Err(SecretsError::TooLong)));
    }

    #[test]
    fn a_changed_file_is_reloaded_and_a_broken_one_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets");
        fs::write(&path, OLD).unwrap();
        let secrets = Secrets::open(&path).unwrap();
        assert!(!secrets.reload(), "it is the same");

        for broken in ["short", "", "not a secret of a URL"] {
            fs::write(&path, broken).unwrap();
            assert!(!secrets.reload(), "{broken}");
            assert_eq!(secrets.check(OLD), Some(Known::Newest), "{broken}");
        }
        fs::remove_file(&path).unwrap();
        assert!(!secrets.reload());
        assert_eq!(secrets.check(OLD), Some(Known::Newest));

        fs::write(&path, format!("{NEW}\n{OLD}")).unwrap();
        assert!(secrets.reload());
        assert_eq!(secrets.check(NEW), Some(Known::Newest));
        assert_eq!(secrets.check(OLD), Some(Known::Older));

        fs::write(&path, NEW).unwrap();
        assert!(secrets.reload());
        assert_eq!(secrets.check(OLD), None, "revoked without a restart");
    }
}
