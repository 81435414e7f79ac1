//! Placeholder: lets everything through. Replaced by the governor on merge.

use std::time::Duration;

use tokio::time::Instant;

use super::{CredentialId, Error, Urgency};

/// What kind of traffic asks.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// A caller waits.
    Unary,
    /// A poll.
    Watch(Urgency),
}

/// Who shares the quota.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// All.
    Process,
    /// Each credential its own.
    Credential,
}

/// How much is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests per second.
    pub rps: f64,
    /// Requests at once.
    pub burst: u32,
    /// Who shares it.
    pub scope: Scope,
    /// Calls waiting at most.
    pub queue_limit: usize,
}

/// The governor.
#[derive(Debug)]
pub struct Quota {}

#[expect(clippy::unused_async, reason = "placeholder")]
impl Quota {
    /// A governor.
    pub fn new(_: Settings) -> Self {
        Self {}
    }

    /// Waits for a turn.
    pub async fn admit(&self, _: CredentialId, _: Class, _: Option<Instant>) -> Result<(), Error> {
        Ok(())
    }

    /// On 429.
    pub fn slow_down(&self, _: CredentialId, _: Option<Duration>) {}

    /// On any other answer.
    pub fn speed_up(&self, _: CredentialId) {}
}
