//! The bearer tokens of callers. A file lists their digests, and it may change while the service
//! runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::{Choice, ConstantTimeEq};
use tracing::{error, info, warn};

use super::Refusal;
use crate::{config::secret::trimmed, credential::CredentialId};

/// The largest file that is read, in bytes. It holds about ten thousand tokens.
const MAX_LENGTH: u64 = 1024 * 1024;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// The tokens that callers may use. Only digests are kept.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    digests: Vec<Digest>,
    /// The version of the file when it was last read.
    stamp: Option<Stamp>,
}

/// Identifies a version of the file. It changes when the file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    changed: (i64, i64),
    file: (u64, u64),
}

/// Why the file of `--client-tokens-file` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("the file of --client-tokens-file cannot be read")]
    Unreadable(#[source] io::Error),
    /// It is too long.
    #[error("the file of --client-tokens-file is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// A line (counted from 1) does not begin with a digest.
    #[error(
        "line {0} of the file of --client-tokens-file does not begin with a SHA-256 digest of 64 \
         hexadecimal digits"
    )]
    Line(usize),
}

impl Tokens {
    /// Reads the tokens of a file.
    pub fn open(path: &Path) -> Result<Self, TokensError> {
        let stamp = Stamp::of(path).ok();
        let digests = read(path)?;
        if digests.is_empty() {
            warn!("the file of --client-tokens-file names no token; every call is refused");
        }
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { digests, stamp }) })
    }

    /// Returns the id of the caller with this token. Compares all digests, so that the time reveals
    /// nothing.
    pub(super) fn check(&self, token: &str) -> Result<CredentialId, Refusal> {
        let digest = digest(&SHA256, token.as_bytes());
        let found =
            self.state.lock().digests.iter().fold(Choice::from(0), |found, known| {
                found | known.as_slice().ct_eq(digest.as_ref())
            });
        // The digest is hashed once more, so that the id of a caller does not reveal it.
        bool::from(found).then(|| CredentialId::of(digest.as_ref())).ok_or(Refusal::Rejected)
    }

    /// Reloads the file if it has changed. If the file cannot be used, the earlier tokens stay
    /// valid. This method blocks, because a file system may be slow. It holds no lock while it
    /// reads.
    pub(super) fn reload(&self) {
        let stamp = Stamp::of(&self.path).ok();
        if stamp == self.state.lock().stamp {
            return;
        }
        let digests = read(&self.path);
        let mut state = self.state.lock();
        state.stamp = stamp;
        match digests {
            Ok(digests) => {
                info!(tokens = digests.len(), "callers' tokens reloaded");
                state.digests = digests;
            }
            Err(problem) => {
                let source = std::error::Error::source(&problem).map(ToString::to_string);
                error!(
                    %problem, source,
                    "callers' tokens not reloaded; the earlier tokens stay valid"
                );
            }
        }
    }
}

impl Stamp {
    #[cfg(unix)]
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;

        let metadata = fs::metadata(path)?;
        Ok(Self {
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            file: (metadata.dev(), metadata.ino()),
        })
    }

    #[cfg(not(unix))]
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH);
        let modified = modified.unwrap_or_default();
        let seconds = i64::try_from(modified.as_secs()).unwrap_or(i64::MAX);
        let changed = (seconds, i64::from(modified.subsec_nanos()));
        Ok(Self { length: metadata.len(), changed, file: (0, 0) })
    }
}

fn read(path: &Path) -> Result<Vec<Digest>, TokensError> {
    if fs::metadata(path).map_err(TokensError::Unreadable)?.len() > MAX_LENGTH {
        return Err(TokensError::TooLong);
    }
    parse(&fs::read_to_string(path).map_err(TokensError::Unreadable)?)
}

/// Parses the digest at the beginning of each line. The rest of the line is a comment. Lines that
/// begin with `#` are comments too.
fn parse(text: &str) -> Result<Vec<Digest>, TokensError> {
    let lines = trimmed(text).lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let first = line.split_whitespace().next().unwrap_or_default();
            digest_of_hex(first).ok_or(TokensError::Line(index + 1))
        })
        .collect()
}

fn digest_of_hex(text: &str) -> Option<Digest> {
    let digits: Vec<_> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    if digits.len() != 2 * SHA256_OUTPUT_LEN {
        return None;
    }
    let mut digest = Digest::default();
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | u8::try_from(*digit).unwrap_or(0));
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of `printf %s one | sha256sum`, and of the same for `two`.
    const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    const TWO: &str = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";

    #[test]
    fn only_tokens_in_the_file_are_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, format!("# callers\n\n  {ONE}  billing team\n{}\n", TWO.to_uppercase()))
            .unwrap();
        let tokens = Tokens::open(&path).unwrap();
        assert_ne!(tokens.check("one").unwrap(), tokens.check("two").unwrap());
        for token in ["", "on", "one ", "One", "three", ONE] {
            assert_eq!(tokens.check(token), Err(Refusal::Rejected), "{token}");
        }
    }

    #[test]
    fn a_changed_file_is_reloaded_and_a_broken_one_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, ONE).unwrap();
        let tokens = Tokens::open(&path).unwrap();

        fs::write(&path, "not a digest").unwrap();
        tokens.reload();
        assert!(tokens.check("one").is_ok(), "the earlier token stays valid");

        fs::remove_file(&path).unwrap();
        tokens.reload();
        assert!(tokens.check("one").is_ok());

        fs::write(&path, TWO).unwrap();
        tokens.reload();
        assert!(tokens.check("one").is_err(), "revoked without a restart");
        assert!(tokens.check("two").is_ok());

        fs::write(&path, "# nobody").unwrap();
        tokens.reload();
        assert!(tokens.check("two").is_err());
    }

    #[test]
    fn the_error_for_a_broken_file_names_the_line() {
        let cut = &ONE[..63];
        assert_eq!(parse(&format!("\u{feff}{ONE}\r\n")).unwrap().len(), 1);
        for (text, line) in [(format!("{ONE}\n{cut}"), 2), (format!("#\n\nx{ONE}"), 3)] {
            let error = parse(&text).unwrap_err();
            assert!(matches!(error, TokensError::Line(number) if number == line), "{error}");
        }
        assert!(Tokens::open(Path::new("/nowhere/tokens")).is_err());
    }
}
