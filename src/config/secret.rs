//! A secret that is given outright, or lies in a file and may change there.

use std::{io, path::PathBuf};

use secrecy::{SecretString, zeroize::Zeroizing};

/// The largest file read as a secret, in bytes.
const MAX_LENGTH: usize = 64 * 1024;

/// A text without the byte order mark that some editors put at its beginning, and without white space
/// around it.
pub fn trimmed(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum Secret {
    /// In a flag or an environment variable.
    Given(SecretString),
    /// In a file, read anew each time.
    File(PathBuf),
}

impl Secret {
    /// The secret of a pair of flags, if exactly one of the two is set.
    pub fn of(given: Option<&SecretString>, file: Option<&PathBuf>) -> Option<Self> {
        match (given, file) {
            (Some(given), None) => Some(Secret::Given(given.clone())),
            (None, Some(file)) => Some(Secret::File(file.clone())),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }

    /// The secret as it is now, without white space or a byte order mark around it. An error if there
    /// is none.
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

    /// The file it lies in.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Secret::Given(_) => None,
            Secret::File(path) => Some(path),
        }
    }
}
