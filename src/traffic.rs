//! The traffic to the vendor: who may ask, when, and how often again. Every request passes here: quota,
//! circuit breaker, retries, shared requests, finished sessions.

mod breaker;
pub mod call_stats;
mod coalesce;
mod finished;
pub mod identities;
mod in_flight;
mod metric;
mod observation;
pub mod quota;
mod retry;
pub mod terms;
mod upstream;
pub mod upstream_stats;

use std::{fmt, future::Future, sync::Arc};

use tokio::time::{Instant, timeout_at};

pub use call_stats::CallStats;
pub use identities::Identities;
pub use quota::Urgency;
pub use terms::Terms;
pub use upstream_stats::UpstreamStats;

use breaker::Breaker;
use coalesce::Coalescing;
use finished::Finished;
use in_flight::{Bound, Outcome};
use observation::RequestMetrics;
use quota::{Class, Quota, Settings};
use retry::Retries;
use upstream::{Failed, Upstream};

use crate::{
    clock::Clock,
    config::{QuotaScope, UpstreamConfig},
    credential::{
        Credential,
        token::{self, TokenSource},
    },
    model::{Session, SessionId, SystemDomain, SystemLink, validator},
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
    coalescing: Coalescing,
    finished: Finished,
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
                    scope: match config.quota_scope {
                        QuotaScope::Process => quota::Scope::Process,
                        QuotaScope::Credential => quota::Scope::Credential,
                    },
                    queue_limit: QUEUE_LIMIT,
                }),
                breaker: Breaker::new(config.breaker_failures, config.breaker_pause),
                retries: Retries::new(config.retries),
                tokens,
                stats: UpstreamStats::default(),
                metrics: RequestMetrics::new(),
                clock,
            },
            coalescing: Coalescing::default(),
            finished: Finished::new(config.finished_cache),
            identities: Identities::default(),
            unknown_fields: UnknownFields::default(),
        })))
    }

    /// The quota that all its requests pass.
    pub fn quota(&self) -> &Quota {
        &self.0.upstream.quota
    }

    /// Which session each watched id stands for: whoever watches says so there.
    pub fn identities(&self) -> &Identities {
        &self.0.identities
    }

    /// What went to the vendor and came back.
    pub fn stats(&self) -> &UpstreamStats {
        &self.0.upstream.stats
    }

    /// Looks whether there is a new secret of the service's, if only that helps.
    pub fn look_for_secret(&self) {
        if let Some(tokens) = &self.0.upstream.tokens {
            tokens.look_for_secret();
        }
    }

    /// How the service's own credential stands, if it has one.
    pub fn token(&self) -> Option<token::Snapshot> {
        self.0.upstream.tokens.as_ref().map(TokenSource::snapshot)
    }

    /// The links registered for one domain.
    pub async fn system_links(
        &self,
        credential: &Credential,
        domain: &SystemDomain,
        terms: Terms,
    ) -> Result<Answer<Vec<SystemLink>>, Error> {
        let endpoint = endpoint::system_links(domain);
        let bound = Bound::fixed(terms.deadline);
        let (upstream, endpoint, asking) = (&self.0.upstream, &endpoint, &terms.asking());
        let answer = upstream.ask(credential, endpoint, &bound, |deadline| async move {
            let pass = upstream.pass(credential, endpoint, Class::Unary, deadline).await;
            let pass = pass.map_err(Failed::NotSent)?;
            upstream.send(pass, endpoint, deadline, asking).await.map_err(Failed::Sent)
        });
        let answer = within(terms.deadline, answer).await;
        match &answer {
            Ok(links) => {
                links
                    .content
                    .iter()
                    .for_each(|link| self.0.unknown_fields.note(&link.additional_fields));
            }
            Err(error) => self.forget_if_refused(credential, error),
        }
        answer
    }

    /// Remembers what is worth it, and forgets what the vendor would not show any more.
    fn landed(
        &self,
        credential: &Credential,
        id: &SessionId,
        landing: Result<Answer<(Session, usize)>, Error>,
    ) -> Outcome {
        let identity = self.0.identities.get(&(credential.id(), id.clone()));
        let believed = landing.and_then(|answer| {
            let (session, _) = &answer.content;
            match validator::check(identity, session) {
                Ok(()) => Ok(answer),
                Err(disbelief) => Err(Error::new(Kind::Malformed).caused_by(disbelief)),
            }
        });
        match believed {
            Ok(Answer { content: (session, size), observed_at }) => {
                self.0.unknown_fields.note(&session.additional_fields);
                let answer = Answer { content: Arc::new(session), observed_at };
                self.0.finished.put(credential, id, &answer, size);
                Ok(answer)
            }
            Err(error) => {
                if matches!(error.kind, Kind::NotFound | Kind::PermissionDenied) {
                    self.0.finished.forget(credential.id(), id);
                }
                self.forget_if_refused(credential, &error);
                Err(error)
            }
        }
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
