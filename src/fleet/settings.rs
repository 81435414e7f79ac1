//! How a replica reaches Redis, and its name in the fleet.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::config::{FleetConfig, secret::Secret};

/// The name of this machine or container, and the number of its latest start, which differs between
/// machines of the same name. Other systems than Linux have no such files, and a random name works.
const PLACE: [&str; 2] = ["/proc/sys/kernel/hostname", "/proc/sys/kernel/random/boot_id"];

/// The shortest key, in characters.
const SHORTEST_KEY: usize = 32;

/// Why a replica cannot join a fleet with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A file cannot be read or used.
    #[error("cannot use the file of {flag}, {}", path.display())]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The address cannot be used.
    #[error("cannot use the address of --fleet-url")]
    Address(#[source] redis::RedisError),
}

/// The name of a replica, and the number of its process.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The name. It stays the same when the process is restarted at the same place, so that the new
    /// process takes the place of the old one.
    pub name: String,
    /// A random number of the process.
    pub incarnation: u64,
    /// How long the replica may go on alone.
    pub alone_limit: Duration,
}

impl Identity {
    /// The identity of a process that listens at `address`.
    pub(super) fn of_process(address: &str, alone_limit: Duration) -> Self {
        let incarnation = fastrand::u64(1..1 << 48);
        let place: io::Result<Vec<_>> = PLACE.into_iter().map(fs::read_to_string).collect();
        let name = match place {
            Ok(place) if !address.ends_with(":0") => {
                // A digest shows nothing of the machine in Redis.
                let place = format!("{} {address}", place.concat());
                hex(ring::digest::digest(&ring::digest::SHA256, place.as_bytes()).as_ref())
            }
            Ok(_) | Err(_) => format!("{incarnation:x}"),
        };
        Self { name, incarnation, alone_limit }
    }
}

/// How a replica reaches Redis.
pub(super) struct Settings {
    pub url: Url,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    /// The certificates of the authority of Redis, as PEM.
    pub authority: Option<Vec<u8>>,
    /// The key of the fleet.
    pub key: hmac::Key,
}

impl Settings {
    /// The name in Redis of a part of what the replicas share. All names have the same hash tag.
    pub fn key_of(&self, part: &str) -> String {
        let name = hmac::sign(&self.key, b"gotoassist-grpc fleet name 1");
        format!("gotoassist:{{{}}}:{part}", hex(name.as_ref()))
    }
}

/// Reads the settings and their files. `None` without a fleet. Values that are not valid are
/// reported by the configuration itself.
pub(super) fn read(config: &FleetConfig) -> Result<Option<Settings>, SetUpError> {
    let (Some(Ok(url)), Some(key_file)) = (config.url(), &config.fleet_key_file) else {
        return Ok(None);
    };
    let key = secret("--fleet-key-file", key_file)?;
    if key.expose_secret().chars().count() < SHORTEST_KEY {
        let source = io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the key must have {SHORTEST_KEY} characters or more"),
        );
        return Err(SetUpError::File { flag: "--fleet-key-file", path: key_file.clone(), source });
    }
    let password = config.fleet_password_file.as_ref();
    let password = password.map(|path| secret("--fleet-password-file", path)).transpose()?;
    let authority = config.fleet_ca_file.as_ref().map(|path| {
        let error = |source| file_error("--fleet-ca-file", path, source);
        fs::read(path).map_err(error)
    });
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret().as_bytes());
    Ok(Some(Settings {
        url,
        user: config.fleet_user.clone(),
        password,
        authority: authority.transpose()?,
        key,
    }))
}

fn secret(flag: &'static str, path: &Path) -> Result<SecretString, SetUpError> {
    Secret::File(path.to_owned()).read().map_err(|source| file_error(flag, path, source))
}

fn file_error(flag: &'static str, path: &Path, source: io::Error) -> SetUpError {
    SetUpError::File { flag, path: path.to_owned(), source }
}

/// The first half of a digest, as text.
pub(in crate::fleet) fn hex(digest: &[u8]) -> String {
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        // Writing to a text never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
