//! The traffic policy towards the vendor. It decides when a request is sent and how often it is
//! retried. Every request passes through it: finished-session cache, shared requests, circuit
//! breaker, quota, retries.

mod breaker;
mod call;
mod finished_sessions;
pub mod identities;
mod metric;
pub mod quota;
mod retry;
mod session;
mod session_list;
mod shared_request;
pub mod stats;
mod upstream;

use std::{fmt, sync::Arc};

use tokio::time::{Instant, timeout_at};

pub use call::RequestContext;
pub use identities::Identities;
pub use quota::{Hint, Urgency};
pub use stats::{CallStats, UpstreamStats};

use breaker::Breaker;
use call::Call;
use finished_sessions::FinishedSessions;
use quota::{Class, Quota, Settings};
use retry::Retries;
use shared_request::{InFlight, SharedDeadline};
use upstream::{Failed, Upstream};

use crate::{
    clock::Clock,
    config::UpstreamConfig,
    credential::{Credential, CredentialId, token::TokenSource},
    fleet::Fleet,
    model::{ListQuery, Session, SessionId, SessionPage, SystemDomain, SystemLink},
    wire::{
        Answer, Error, Kind, SetUpError,
        endpoint::{self, decode_system_links},
        transport::Transport,
        unknown_fields::UnknownFields,
    },
};

/// A client for the vendor. It is cheap to clone. All clones share connections, quota and caches.
#[derive(Clone)]
pub struct Client(Arc<Parts>);

/// How many unary calls may wait for quota at the same time. At 8 requests a second, the last one
/// waits two minutes. Further calls are refused at once.
const QUEUE_LIMIT: usize = 1_000;

struct Parts {
    upstream: Upstream,
    /// The in-flight unary calls, by credential, caller and session.
    calls: InFlight<(CredentialId, CredentialId, SessionId), Session>,
    /// The in-flight requests, by credential and session.
    requests: InFlight<(CredentialId, SessionId), Session>,
    /// The in-flight calls for a page of the list, by credential, caller and query.
    lists: InFlight<(CredentialId, CredentialId, ListQuery), SessionPage>,
    finished: FinishedSessions,
    identities: Identities,
    unknown_fields: UnknownFields,
}

impl Client {
    /// Creates the client of a process on its own. `tokens` is the source of
    /// [`Credential::Service`], if the service has a credential. Sends nothing yet.
    pub fn new(
        config: &UpstreamConfig,
        tokens: Option<TokenSource>,
        clock: Clock,
    ) -> Result<Self, SetUpError> {
        Self::in_fleet(config, tokens, clock, Fleet::alone())
    }

    /// Creates the client of a process that may be a replica of a fleet.
    pub fn in_fleet(
        config: &UpstreamConfig,
        tokens: Option<TokenSource>,
        clock: Clock,
        fleet: Fleet,
    ) -> Result<Self, SetUpError> {
        metric::describe();
        let settings = Settings {
            rps: config.rps,
            burst: config.burst,
            scope: config.quota_scope,
            queue_limit: QUEUE_LIMIT,
        };
        Ok(Self(Arc::new(Parts {
            upstream: Upstream {
                transport: Transport::new(config)?,
                quota: Quota::in_fleet(settings, fleet),
                breaker: Breaker::new(config.breaker_failures, config.breaker_pause),
                retries: Retries::new(config.retries),
                tokens,
                stats: UpstreamStats::default(),
                metrics: metric::RequestMetrics::new(),
                clock,
            },
            calls: InFlight::default(),
            requests: InFlight::default(),
            lists: InFlight::default(),
            finished: FinishedSessions::new(config.finished_cache),
            identities: Identities::default(),
            unknown_fields: UnknownFields::default(),
        })))
    }

    /// Returns the quota for all requests of this client.
    pub fn quota(&self) -> &Quota {
        &self.0.upstream.quota
    }

    /// Returns the identities of the watched sessions. The feed keeps them up to date.
    pub fn identities(&self) -> &Identities {
        &self.0.identities
    }

    /// Returns the statistics of the requests.
    pub fn stats(&self) -> &UpstreamStats {
        &self.0.upstream.stats
    }

    /// Reads the service's secret again, if its credential failed because of the old secret.
    pub fn check_for_new_secret(&self) {
        if let Some(tokens) = &self.0.upstream.tokens {
            tokens.check_for_new_secret();
        }
    }

    /// Brings the gauges of the quota, the vendor and the service's own credential up to date.
    pub fn set_gauges(&self) {
        let (quota, fleet) = (self.quota().snapshot(), self.quota().fleet());
        metric::set_gauges(&quota, fleet.standing(), self.stats().is_well());
        fleet.set_gauges();
        if let Some(tokens) = &self.0.upstream.tokens {
            tokens.set_gauges();
        }
    }

    /// Returns the links that are registered for a domain.
    pub async fn system_links(
        &self,
        credential: &Credential,
        domain: &SystemDomain,
        context: RequestContext,
    ) -> Result<Answer<Vec<SystemLink>>, Error> {
        let upstream = &self.0.upstream;
        let endpoint = endpoint::system_links(domain);
        let deadline = Arc::new(SharedDeadline::new(context.deadline));
        let call = &Call::new(credential, endpoint, Class::Unary, deadline, &context);
        let answer = upstream.ask(call, || async {
            let admission = upstream.admission(call).await.map_err(Failed::NotSent)?;
            upstream.send(admission, call, &mut decode_system_links).await.map_err(Failed::Sent)
        });
        let answer = within(context.deadline, answer).await;
        match &answer {
            Ok(links) => {
                for link in &links.content {
                    self.0.unknown_fields.note(&link.additional_fields);
                }
            }
            Err(error) => self.forget_if_refused(credential, error),
        }
        answer
    }

    fn forget_if_refused(&self, credential: &Credential, error: &Error) {
        if matches!(error.kind, Kind::CredentialRejected | Kind::NoSeat) {
            self.0.finished.forget_all(credential.id());
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Returns the answer, or `DeadlineExceeded` if it does not come before the deadline.
async fn within<T>(
    deadline: Option<Instant>,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(deadline) = deadline else { return answer.await };
    if deadline <= Instant::now() {
        return Err(Error::new(Kind::DeadlineExceeded));
    }
    timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(Error::new(Kind::DeadlineExceeded)))
}
