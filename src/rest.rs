//! The south face: the vendor's REST API. The only place that knows HTTP and JSON.

mod breaker;
mod coalesce;
pub mod credential;
mod drift;
pub mod error;
mod finished;
mod http_client;
mod identities;
mod in_flight;
mod lenient;
mod metric;
mod observation;
#[cfg(test)]
mod property;
pub mod quota;
mod retry;
pub mod session;
mod status;
mod system_link;
mod tally;
pub mod token;
pub mod traffic;
mod transport;
mod upstream;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, timeout_at};

pub use credential::{Credential, CredentialId};
pub use error::{ConnectionFailure, Error, Kind};
pub use http_client::{HttpClient, SetUpError};
pub use identities::Identities;
pub use lenient::Malformed;
pub use tally::Tally;
pub use traffic::Traffic;

use breaker::Breaker;
use coalesce::Coalescing;
use drift::Drift;
use finished::Finished;
use in_flight::{Bound, Outcome};
use observation::{Call, RequestMetrics};
use quota::{Class, Quota, Settings};
use retry::Retries;
use token::TokenSource;
use transport::Transport;
use upstream::{Asking, Failed, Question, Upstream};

use crate::{
    clock::Clock,
    config::{QuotaScope, UpstreamConfig},
    model::{Session, SessionId, SystemDomain, SystemLink, validator},
    trace::Cause,
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
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// When the caller stops waiting; bounds the wait for quota and every attempt.
    pub deadline: Option<Instant>,
    /// The call, as the traces know it.
    pub cause: Cause,
    /// Counts what the call asks of the vendor.
    pub tally: Tally,
    /// Whether the vendor is to be asked even for a finished session that is in memory.
    pub skips_cache: bool,
}

impl Terms {
    fn asking(&self) -> Asking {
        Asking { tally: self.tally.clone(), cause: self.cause.clone() }
    }
}

/// How much a poll would teach; decides who is asked first while quota is scarce.
#[derive(Clone, Copy, Debug)]
pub struct Urgency {
    /// When the session was asked for last.
    pub since: Instant,
    /// How often it is worth asking for the session, relative to others.
    pub weight: f64,
}

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
    drift: Drift,
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
                traffic: Traffic::default(),
                metrics: RequestMetrics::new(),
                clock,
            },
            coalescing: Coalescing::default(),
            finished: Finished::new(config.finished_cache),
            identities: Identities::default(),
            drift: Drift::default(),
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
    pub fn traffic(&self) -> &Traffic {
        &self.0.upstream.traffic
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
        let question = Question {
            call: Call::SystemLinks,
            template: "/systemLinks",
            path: format!("/systemLinks?systemDomain={}", encoded(domain.as_str())),
            decode: system_link::decode,
        };
        let bound = Bound::fixed(terms.deadline);
        let (upstream, question, asking) = (&self.0.upstream, &question, &terms.asking());
        let answer = upstream.ask(credential, question, &bound, |deadline| async move {
            let pass = upstream.pass(credential, question, Class::Unary, deadline).await;
            let pass = pass.map_err(Failed::NotSent)?;
            upstream.send(pass, question, deadline, asking).await.map_err(Failed::Sent)
        });
        let answer = within(terms.deadline, answer).await;
        match &answer {
            Ok(links) => {
                links.content.iter().for_each(|link| self.0.drift.note(&link.additional_fields));
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
                self.0.drift.note(&session.additional_fields);
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

/// Asks for a session and the size of its JSON in bytes.
fn session_question(id: &SessionId) -> Question<(Session, usize)> {
    Question {
        call: Call::Session,
        template: "/sessions/{sessionId}",
        path: format!("/sessions/{}", encoded(id.as_str())),
        decode: |body| {
            let session = session::decode(body)?;
            validator::check(None, &session)?;
            Ok((session, body.len()))
        },
    }
}

/// Percent-encoded so that it is one path segment or query value and nothing else: all but the
/// unreserved characters (RFC 3986 §2.3).
fn encoded(text: &str) -> impl fmt::Display {
    const RESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED)
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

/// Locks what no panic can leave half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
