//! The traffic policy towards the vendor: when a request is sent, and how often again. Every request
//! passes here: finished-session cache, shared requests, circuit breaker, quota, retries.

mod breaker;
mod call;
mod finished_sessions;
pub mod identities;
mod metric;
pub mod quota;
mod retry;
mod session;
mod shared_request;
pub mod stats;
mod upstream;

use std::{fmt, sync::Arc};

use tokio::time::{Instant, timeout_at};

pub use call::RequestContext;
pub use identities::Identities;
pub use quota::Urgency;
pub use stats::{CallStats, UpstreamStats};

use breaker::Breaker;
use call::Call;
use finished_sessions::FinishedSessions;
use quota::{Class, Quota, Settings};
use retry::Retries;
use shared_request::InFlight;
use upstream::{Failed, Upstream};

use crate::{
    clock::Clock,
    config::UpstreamConfig,
    credential::{Credential, CredentialId, token::TokenSource},
    model::{SessionId, SystemDomain, SystemLink},
    wire::{
        Answer, Error, Kind, SetUpError, endpoint, transport::Transport,
        unknown_fields::UnknownFields,
    },
};

/// Asks the vendor. Cheap to clone; all clones share connections, quota and memory.
#[derive(Clone)]
pub struct Client(Arc<Parts>);

/// How many unary calls may wait for quota at the same time: at 8 requests a second, what has two
/// minutes to wait. The next one is refused at once.
const QUEUE_LIMIT: usize = 1_000;

struct Parts {
    upstream: Upstream,
    /// The unary calls in flight, by credential, caller and session.
    calls: InFlight<(CredentialId, CredentialId, SessionId)>,
    /// The requests in flight, by credential and session.
    requests: InFlight<(CredentialId, SessionId)>,
    finished: FinishedSessions,
    identities: Identities,
    unknown_fields: UnknownFields,
}

impl Client {
    /// A client for one process. `tokens` is the source of [`Credential::Service`], if there is
    /// one. Nothing is sent yet.
    pub fn new(
        config: &UpstreamConfig,
        tokens: Option<TokenSource>,
        clock: Clock,
    ) -> Result<Self, SetUpError> {
        metric::describe();
        Ok(Self(Arc::new(Parts {
            upstream: Upstream {
                transport: Transport::new(config)?,
                quota: Quota::new(Settings {
                    rps: config.rps,
                    burst: config.burst,
                    scope: config.quota_scope,
                    queue_limit: QUEUE_LIMIT,
                }),
                breaker: Breaker::new(config.breaker_failures, config.breaker_pause),
                retries: Retries::new(config.retries),
                tokens,
                stats: UpstreamStats::default(),
                clock,
            },
            calls: InFlight::default(),
            requests: InFlight::default(),
            finished: FinishedSessions::new(config.finished_cache),
            identities: Identities::default(),
            unknown_fields: UnknownFields::default(),
        })))
    }

    /// The quota that all its requests pass.
    pub fn quota(&self) -> &Quota {
        &self.0.upstream.quota
    }

    /// Which session each watched id stands for. The feed keeps it up to date.
    pub fn identities(&self) -> &Identities {
        &self.0.identities
    }

    /// The numbers of its requests.
    pub fn stats(&self) -> &UpstreamStats {
        &self.0.upstream.stats
    }

    /// Looks for a new secret of the service's, if its credential fails for want of one.
    pub fn look_for_secret(&self) {
        if let Some(tokens) = &self.0.upstream.tokens {
            tokens.look_for_secret();
        }
    }

    /// Brings the gauges of the quota, the vendor and the service's own credential up to date.
    pub fn set_gauges(&self) {
        metric::set_gauges(&self.quota().snapshot(), self.stats().is_well());
        if let Some(tokens) = &self.0.upstream.tokens {
            tokens.set_gauges();
        }
    }

    /// The links registered for one domain.
    pub async fn system_links(
        &self,
        credential: &Credential,
        domain: &SystemDomain,
        context: RequestContext,
    ) -> Result<Answer<Vec<SystemLink>>, Error> {
        let upstream = &self.0.upstream;
        let endpoint = endpoint::system_links(domain);
        let call = &Call::new(credential, endpoint, Class::Unary, &context);
        let answer = upstream.ask(call, || async {
            let admission = upstream.admission(call).await.map_err(Failed::NotSent)?;
            upstream.send(admission, call).await.map_err(Failed::Sent)
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

/// The answer, if it comes before the deadline.
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
