//! Rules: which fault is played, to which requests, and how often.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize, de::Error as _};
use tokio::time::Instant;

use super::fault::Fault;

/// The requests that a rule applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// All REST calls.
    #[default]
    Rest,
    /// `/sessions/{id}`.
    Sessions,
    /// `/sessions`, the list.
    SessionList,
    /// `/systemLinks`.
    SystemLinks,
    /// The token endpoint.
    Token,
}

/// When a fault is played. The first rule that applies to a request decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// The fault.
    pub fault: Fault,
    /// For these requests only.
    pub route: Route,
    /// For this session id or token only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// For this token, or principal of an issued token, only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// How many matching requests to leave alone first.
    pub skip: u64,
    /// How often [default: no limit].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// For how many seconds from now [default: no limit].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<f64>,
    /// The probability, from 0 to 1 [default: 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Seed of the probability [default: the simulator's].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Seconds to wait before the answer.
    pub delay: f64,
}

/// A text is neither a kind of fault nor a rule as JSON.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is neither a kind of fault nor a rule as JSON: {source}")]
pub struct InvalidRule {
    text: String,
    source: serde_json::Error,
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self { fault, ..Self::default() }
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule: Result<Self, _> = if text.trim_start().starts_with('{') {
            serde_json::from_str(text)
        } else {
            serde_json::from_value(serde_json::json!({ "fault": { "kind": text.trim() } }))
        };
        rule.and_then(Self::checked).map_err(|source| InvalidRule { text: text.into(), source })
    }
}

impl Rule {
    /// A rule that plays a fault for a limited number of requests.
    pub fn times(times: u64, fault: Fault) -> Self {
        Self { fault, times: Some(times), ..Self::default() }
    }

    /// Limits the rule to one session id or token.
    #[must_use]
    pub fn for_session(mut self, id: impl Into<String>) -> Self {
        self.session_id = Some(id.into());
        self
    }

    /// Returns the rule if its numbers are valid in HTTP and for the clock.
    fn checked(self) -> Result<Self, serde_json::Error> {
        if !self.fault.can_be_sent() {
            return Err(serde_json::Error::custom("HTTP cannot express this answer"));
        }
        if !(0.0..=1e9).contains(&self.delay) {
            return Err(serde_json::Error::custom("the delay must be from 0 to 1e9 seconds"));
        }
        Ok(self)
    }
}

/// A rule in use.
#[derive(Debug)]
pub(super) struct ActiveRule {
    pub id: u64,
    pub rule: Rule,
    /// How often its fault was played.
    pub played: u64,
    matched: u64,
    until: Option<Instant>,
    chance: fastrand::Rng,
}

impl ActiveRule {
    pub(super) fn new(id: u64, rule: Rule, seed: u64) -> Self {
        let span = rule.for_seconds.and_then(|span| Duration::try_from_secs_f64(span).ok());
        let chance = fastrand::Rng::with_seed(rule.seed.unwrap_or(seed));
        let until = span.and_then(|span| Instant::now().checked_add(span));
        Self { id, rule, played: 0, matched: 0, until, chance }
    }

    /// Whether the fault is played for this request. Counts the request if it matches.
    pub(super) fn applies(
        &mut self,
        route: Route,
        session_id: Option<&str>,
        credential: Option<&str>,
    ) -> bool {
        let rule = &self.rule;
        let matches = match rule.route {
            Route::Rest => {
                matches!(route, Route::Sessions | Route::SessionList | Route::SystemLinks)
            }
            Route::Sessions | Route::SessionList | Route::SystemLinks | Route::Token => {
                route == rule.route
            }
        } && rule.session_id.as_deref().is_none_or(|id| session_id == Some(id))
            && rule.credential.as_deref().is_none_or(|name| credential == Some(name));
        let is_over = self.until.is_some_and(|until| Instant::now() >= until)
            || rule.times.is_some_and(|times| self.played >= times);
        if !matches || is_over {
            return false;
        }
        self.matched += 1;
        let applies = self.matched > rule.skip
            && rule.probability.is_none_or(|probability| self.chance.f64() < probability);
        self.played += u64::from(applies);
        applies
    }
}
