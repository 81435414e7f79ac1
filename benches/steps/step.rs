//! What a call and an event of a watch are made of, on a session with every usual field.

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

/// The session read.
pub fn decode(body: &[u8]) -> Session {
    session::decode(body).expect("a session")
}

/// The session as callers see it.
pub fn map(session: Session) -> proto::Session {
    to_proto(session)
}

/// On the wire.
pub fn encode(message: &proto::Session) -> Vec<u8> {
    message.encode_to_vec()
}

/// The fingerprints by which a poll sees that something changed.
pub fn digest(session: &Session) -> Digest {
    Digest::of(session)
}

/// Which fields changed.
pub fn diff(before: &Session, after: &Session) -> Vec<&'static str> {
    changed_fields(before, after)
}

/// The status changes so far, one more looked at.
pub fn observe(history: &mut History, session: &Session) {
    history.observe(session, Timestamp::UNIX_EPOCH);
}

/// The resume token of a message.
pub fn resume_token(codec: &ResumeTokenCodec, id: &SessionId, known: &Known) -> String {
    codec.encode(id, known)
}

/// What a token holds.
pub fn known(session: &Session) -> Known {
    Known {
        digest: Digest::of(session),
        progress: Progress::of(session),
        observed_at: Timestamp::UNIX_EPOCH,
        over_since: None,
    }
}

/// Who asks, by the `authorization` metadata.
pub fn credential(authorization: &str) -> Credential {
    Credential::from_authorization(authorization).expect("a credential")
}

/// A quota that nobody else uses.
pub fn quota() -> Quota {
    Quota::new(Settings { rps: 1e5, burst: 100_000, scope: Scope::Process, queue_limit: 10 })
}

/// Admitted at once, as while there is quota to spare.
pub async fn admit(quota: &Quota, credential: &Credential) {
    quota.admit(credential.id(), Class::Unary, None).await.expect("there is quota");
}
