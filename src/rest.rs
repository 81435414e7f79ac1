//! The south face: the vendor's REST API. The only place that knows HTTP and JSON.

pub mod credential;
pub mod error;
pub mod quota;
pub mod token;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

pub use credential::{Credential, CredentialId};
pub use error::{Error, Kind};

use crate::{
    clock::Clock,
    model::{Session, SessionId, SystemDomain, SystemLink},
};

/// What the vendor answered, and when the answer came.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// What the answer holds.
    pub content: T,
    /// When it came, by our clock.
    pub observed_at: Timestamp,
}

/// How a unary call wants to be served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// When the caller stops waiting; bounds the wait for quota and every attempt.
    pub deadline: Option<Instant>,
    /// How old an answer already at hand may be. Zero: always ask.
    pub max_staleness: Duration,
}

/// How much a poll would teach; decides who is asked first while quota is scarce.
#[derive(Clone, Copy, Debug)]
pub struct Urgency {
    /// When the session was asked for last.
    pub since: Instant,
    /// How likely the session changes, relative to others: the square root of its rate of change,
    /// in changes per second.
    pub weight: f64,
}

/// Asks the vendor.
#[derive(Clone, Debug)]
pub struct Client {}

impl Client {
    /// One session, for a unary call.
    pub async fn session(
        &self,
        credential: &Credential,
        id: &SessionId,
        terms: Terms,
    ) -> Result<Answer<Arc<Session>>, Error> {
        todo!()
    }

    /// One session, for a watch: waits for quota as long as it takes, behind every unary call.
    /// A single attempt, without retry: the poller that asks has a rhythm of its own.
    pub async fn poll_session(
        &self,
        credential: &Credential,
        id: &SessionId,
        urgency: Urgency,
    ) -> Result<Answer<Arc<Session>>, Error> {
        todo!()
    }

    /// The links registered for one domain.
    pub async fn system_links(
        &self,
        credential: &Credential,
        domain: &SystemDomain,
        terms: Terms,
    ) -> Result<Answer<Vec<SystemLink>>, Error> {
        todo!()
    }
}
