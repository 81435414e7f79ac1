//! A secret that is given directly or in a file, which may change.

use std::{io, path::PathBuf};

use secrecy::{SecretString, zeroize::Zeroizing};

/// Largest size of a secret file, in bytes.
const MAX_LENGTH: usize = 64 * 1024;

/// Removes white space and a byte order mark around the text. Some editors put a byte order mark at
/// the beginning of a file.
pub fn trimmed(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

/// Where to read a secret.
#[derive(Clone, Debug)]
pub enum Secret {
    /// From a flag or an environment variable.
    Given(SecretString),
    /// From a file, which is read again each time.
    File(PathBuf),
}

impl Secret {
    /// The secret of a pair of flags, if exactly one of them is set.
    pub fn of(given: Option<&SecretString>, file: Option<&PathBuf>) -> Option<Self> {
        match (given, file) {
            (Some(given), None) => Some(Secret::Given(given.clone())),
            (None, Some(file)) => Some(Secret::File(file.clone())),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }

    /// Reads the current secret, without white space or a byte order mark around it. Returns an
    /// error if the secret is empty or cannot be read.
    pub fn read(&self) -> io::Result<SecretString> {
        let text = match self {
            Secret::Given(secret) => return Ok(secret.clone()),
            Secret::File(path) => Zeroizing::new(std::fs::read(path)?),
        };
        let plain = |text: &[u8]| {
            let text = trimmed(std::str::from_utf8(text).ok()?);
            let is_plain = !text.is_empty() && !text.chars().any(char::is_control);
            (is_plain && text.len() <= MAX_LENGTH).then(|| SecretString::from(text))
        };
        plain(&text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "does not hold one line of text")
        })
    }

    /// The path, if the secret is in a file.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Secret::Given(_) => None,
            Secret::File(path) => Some(path),
        }
    }
}
