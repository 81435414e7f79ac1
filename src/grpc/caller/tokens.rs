//! The bearer tokens of callers: their digests, in a file that may change while we run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::Refusal;
use crate::{config::secret::trimmed, credential::CredentialId};

/// How long a look at the file is good for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest file read, in bytes: some ten thousand tokens.
const MAX_LENGTH: u64 = 1024 * 1024;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// The tokens callers may use. Only digests are kept.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    digests: Vec<Digest>,
    stamp: Option<Stamp>,
    look_at: Instant,
}

/// What changes when somebody writes to the file, or puts another in its place.
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
            warn!("the file of --client-tokens-file names no token: nobody may call");
        }
        let state = State { digests, stamp, look_at: Instant::now() + LOOK_INTERVAL };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// Who uses this token. Looks at every digest, so that the time tells nothing.
    pub(super) fn check(&self, token: &str) -> Result<CredentialId, Refusal> {
        let digest = digest(&SHA256, token.as_bytes());
        let mut state = self.state();
        state.follow(&self.path, Instant::now());
        let found = state
            .digests
            .iter()
            .fold(Choice::from(0), |found, known| found | known.as_slice().ct_eq(digest.as_ref()));
        // Hashed once more: what tells callers apart is not what lets them in.
        bool::from(found).then(|| CredentialId::of(digest.as_ref())).ok_or(Refusal::Rejected)
    }

    /// Looks at the file now.
    pub(super) fn look_again(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        state.look_at = now;
        state.follow(&self.path, now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads the file again if it has changed. One that cannot be used changes nothing.
    fn follow(&mut self, path: &Path, now: Instant) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_INTERVAL;
        let stamp = Stamp::of(path).ok();
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        match read(path) {
            Ok(digests) => {
                info!(tokens = digests.len(), "the callers' tokens are read again");
                self.digests = digests;
            }
            Err(problem) => {
                let source = std::error::Error::source(&problem).map(ToString::to_string);
                error!(
                    %problem, source,
                    "the callers' tokens have changed but cannot be used; those before stay valid"
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

/// One digest a line; what follows it on the line is for people, as are lines that begin with `#`.
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

    /// `printf %s one | sha256sum`, and `two`.
    const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    const TWO: &str = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";

    #[tokio::test(start_paused = true)]
    async fn only_tokens_in_the_file_are_known() {
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

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, ONE).unwrap();
        let tokens = Tokens::open(&path).unwrap();
        let later = || tokio::time::advance(LOOK_INTERVAL);

        fs::write(&path, "not a digest").unwrap();
        later().await;
        assert!(tokens.check("one").is_ok(), "the one before stays valid");

        fs::remove_file(&path).unwrap();
        later().await;
        assert!(tokens.check("one").is_ok());

        fs::write(&path, TWO).unwrap();
        later().await;
        assert!(tokens.check("one").is_err(), "revoked without a restart");
        assert!(tokens.check("two").is_ok());

        fs::write(&path, "# nobody").unwrap();
        later().await;
        assert!(tokens.check("two").is_err());
    }

    #[test]
    fn a_file_that_cannot_be_used_says_which_line() {
        let cut = &ONE[..63];
        assert_eq!(parse(&format!("\u{feff}{ONE}\r\n")).unwrap().len(), 1);
        for (text, line) in [(format!("{ONE}\n{cut}"), 2), (format!("#\n\nx{ONE}"), 3)] {
            let error = parse(&text).unwrap_err();
            assert!(matches!(error, TokensError::Line(number) if number == line), "{error}");
        }
        assert!(Tokens::open(Path::new("/nowhere/tokens")).is_err());
    }
}
