//! `session-digest`.

use secrecy::ExposeSecret as _;

use super::{USAGE, output};
use crate::{
    config::{SessionDigestConfig, secret::Secret},
    grpc::session_digest::SessionDigests,
    model::SessionId,
};

/// Prints the digest of each session. `Err` is the exit status.
pub fn run(config: &SessionDigestConfig) -> Result<(), u8> {
    let fail = |why: &dyn std::fmt::Display| output::fail(USAGE, why);
    let secret = Secret::of(config.resume_key.as_ref(), config.resume_key_file.as_ref());
    let Some(secret) = secret else {
        return Err(fail(&"the digests need the key of the service: --resume-key-file"));
    };
    let key = secret.read().map_err(|error| fail(&format_args!("the key: {error}")))?;
    let digests = SessionDigests::new(Some(key.expose_secret()));
    for session in &config.session_ids {
        let session: SessionId =
            session.parse().map_err(|error| fail(&format_args!("{session:?} {error}")))?;
        output::text(&digests.of(&session))?;
    }
    Ok(())
}
