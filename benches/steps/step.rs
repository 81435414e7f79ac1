//! The steps of a call and of an event, with a session that has all usual fields.

use gotoassist_grpc::{
    credential::Credential,
    grpc::{resume_token::ResumeTokenCodec, session::to_proto},
    model::{Digest, History, Known, Progress, Session, SessionId, field::changed_fields},
    proto,
    traffic::quota::{Class, Quota, Scope, Settings},
    wire::session,
};
use jiff::Timestamp;
use prost::Message as _;

/// A session as the vendor sends it.
pub const BODY: &[u8] = include_bytes!("../compare/peers/session.json");

/// Parses the session.
pub fn decode(body: &[u8]) -> Session {
    session::decode(body).expect("a session")
}

/// Converts the session to the message for callers.
pub fn map(session: Session) -> proto::Session {
    to_proto(session)
}

/// Encodes the message.
pub fn encode(message: &proto::Session) -> Vec<u8> {
    message.encode_to_vec()
}

/// Computes the fingerprints with which a poll detects a change.
pub fn digest(session: &Session) -> Digest {
    Digest::of(session)
}

/// Finds the changed fields.
pub fn diff(before: &Session, after: &Session) -> Vec<&'static str> {
    changed_fields(before, after)
}

/// Adds a status to the history.
pub fn observe(history: &mut History, session: &Session) {
    history.observe(session, Timestamp::UNIX_EPOCH);
}

/// Creates the resume token of a message.
pub fn resume_token(codec: &ResumeTokenCodec, id: &SessionId, known: &Known) -> String {
    codec.encode(id, known)
}

/// The state that a resume token carries.
pub fn known(session: &Session) -> Known {
    Known {
        digest: Digest::of(session),
        progress: Progress::of(session),
        observed_at: Timestamp::UNIX_EPOCH,
        over_since: None,
    }
}

/// Identifies the caller by the `authorization` metadata.
pub fn credential(authorization: &str) -> Credential {
    Credential::from_authorization(authorization).expect("a credential")
}

/// A quota without other users.
pub fn quota() -> Quota {
    Quota::new(Settings { rps: 1e5, burst: 100_000, scope: Scope::Process, queue_limit: 10 })
}

/// Admits a request at once, because quota is available.
pub async fn admit(quota: &Quota, credential: &Credential) {
    quota.admit(credential.id(), Class::Unary, None).await.expect("there is quota");
}
