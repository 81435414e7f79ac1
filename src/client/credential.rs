//! The credential of the caller: the `authorization` of a request.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
};

use super::{Error, Failure, failure};
use crate::config::{self, secret::trimmed};

/// The credential of the caller. `Debug` does not print it, because the value is marked as
/// sensitive.
#[derive(Clone, Debug)]
pub enum Credential {
    /// No credential.
    None,
    /// A fixed value.
    Fixed(MetadataValue<Ascii>),
    /// A bearer token in this file. Another program refreshes the file.
    File(PathBuf),
}

impl Credential {
    /// The credential of the configuration. It is read once as a check.
    pub fn new(config: &config::CredentialConfig) -> Result<Self, Error> {
        if let Some(value) = &config.authorization {
            Ok(Self::Fixed(header(value.expose_secret())?))
        } else if let Some(token) = &config.token {
            Ok(Self::Fixed(bearer(token.expose_secret())?))
        } else if let Some(path) = &config.token_file {
            read(path)?;
            Ok(Self::File(path.clone()))
        } else {
            Ok(Self::None)
        }
    }

    /// Creates a request of `message` with this credential.
    pub fn apply<M>(&self, message: M) -> Result<Request<M>, Failure> {
        let mut request = Request::new(message);
        let value = match self {
            Self::None => None,
            Self::Fixed(value) => Some(value.clone()),
            Self::File(path) => Some(read(path).map_err(|error| failure::no_credential(&error))?),
        };
        if let Some(value) = value {
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// A token is a few kilobytes in a local file, so a blocking read needs no other thread.
fn read(path: &Path) -> Result<MetadataValue<Ascii>, Error> {
    let token = std::fs::read_to_string(path)
        .map_err(|source| Error::File { path: path.to_owned(), source })?;
    bearer(&token)
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    match trimmed(token) {
        "" => Err(Error::Credential),
        token => header(&format!("Bearer {token}")),
    }
}

fn header(value: &str) -> Result<MetadataValue<Ascii>, Error> {
    let mut value = MetadataValue::try_from(trimmed(value)).map_err(|_| Error::Credential)?;
    if value.is_empty() {
        return Err(Error::Credential);
    }
    value.set_sensitive(true);
    Ok(value)
}
