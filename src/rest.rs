//! The south face: the vendor's REST API. The only place that knows HTTP and JSON.

mod breaker;
pub mod credential;
mod drift;
pub mod error;
mod finished;
mod flight;
mod http_client;
mod identities;
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
use metrics::counter;
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
use drift::Drift;
use finished::Finished;
use flight::{Bound, Flight, Flights, Landing};
use observation::{Call, RequestMetrics};
use quota::{Class, Quota, Settings};
use retry::Retries;
use token::TokenSource;
use transport::Transport;
use upstream::{Asking, Question, Upstream};

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

struct Parts {
    upstream: Upstream,
    flights: Option<Flights>,
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
                    queue_limit: config.quota_queue,
                }),
                breaker: Breaker::new(config.breaker_failures, config.breaker_pause),
                retries: Retries::new(config.retries),
                tokens,
                traffic: Traffic::default(),
                metrics: RequestMetrics::new(),
                clock,
            },
            flights: config.coalesce.then(Flights::default),
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

    /// How the service's own credential stands, if it has one.
    pub fn token(&self) -> Option<token::Snapshot> {
        self.0.upstream.tokens.as_ref().map(TokenSource::snapshot)
    }

    /// One session, for a unary call. Shares the request of an identical call under way.
    ///
    /// A caller who leaves ends the request, unless others wait for it too.
    pub async fn session(
        &self,
        credential: &Credential,
        id: &SessionId,
        terms: Terms,
    ) -> Result<Answer<Arc<Session>>, Error> {
        if !terms.skips_cache
            && let Some(answer) = self.0.finished.get(credential.id(), id)
        {
            counter!(metric::FINISHED_CACHE_HITS).increment(1);
            return Ok(answer);
        }
        within(terms.deadline, async {
            if let Some(flights) = &self.0.flights {
                return self.session_in_flight(flights, credential, id, terms).await;
            }
            let bound = Bound::fixed(terms.deadline);
            // Boxed for the sake of those who share: they need no room for it.
            Box::pin(self.fetch(credential, id, &bound, terms.asking())).await
        })
        .await
    }

    /// One session, for a watch: waits for quota as long as it takes, behind every unary call.
    /// A single attempt, without retry: the poller that asks has a rhythm of its own.
    pub async fn poll_session(
        &self,
        credential: &Credential,
        id: &SessionId,
        urgency: Urgency,
        cause: &Cause,
    ) -> Result<Answer<Arc<Session>>, Error> {
        let class = || Class::Watch(urgency);
        let Some(flights) = &self.0.flights else {
            let pass = self.0.upstream.pass(credential, class(), None).await?;
            let asking = Asking { cause: cause.clone(), ..Asking::default() };
            let question = session_question(id);
            let landing = self.0.upstream.send(pass, &question, None, &asking).await;
            return self.landed(credential, id, landing);
        };
        let key = (credential.id(), id.clone());
        let joined = |flight: Flight| async {
            counter!(metric::SINGLE_FLIGHT_JOINS).increment(1);
            flight.await
        };
        loop {
            let landing = match flights.board_or_wait(&key) {
                Ok(flight) => joined(flight).await,
                Err(mut waiting) => tokio::select! {
                    biased;
                    flight = waiting.next() => joined(flight).await,
                    pass = self.0.upstream.pass(credential, class(), None) => {
                        drop(waiting);
                        let (pass, this, id) = (pass?, self.clone(), id.clone());
                        let credential = credential.clone();
                        let asking = Asking { cause: cause.clone(), ..Asking::default() };
                        let request = Box::pin(async move {
                            let question = session_question(&id);
                            let landing =
                                this.0.upstream.send(pass, &question, None, &asking).await;
                            this.landed(&credential, &id, landing)
                        });
                        return flights.begin(key, request).await;
                    }
                },
            };
            match landing {
                // Its callers' time was too short for the queue. A poll's is not.
                Err(Error { kind: Kind::QuotaExhausted, .. }) => {}
                landing => return landing,
            }
        }
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
        let asking = terms.asking();
        let answer = self.0.upstream.ask(credential, &question, &bound, asking);
        let answer = within(terms.deadline, answer).await;
        match &answer {
            Ok(links) => {
                links.content.iter().for_each(|link| self.0.drift.note(&link.additional_fields));
            }
            Err(error) => self.forget_if_refused(credential, error),
        }
        answer
    }

    async fn session_in_flight(
        &self,
        flights: &Flights,
        credential: &Credential,
        id: &SessionId,
        terms: Terms,
    ) -> Landing {
        loop {
            let key = (credential.id(), id.clone());
            let boarding = flights.board(key, terms.deadline, |bound| {
                let (this, credential, id) = (self.clone(), credential.clone(), id.clone());
                let asking = terms.asking();
                Box::pin(async move { this.fetch(&credential, &id, &bound, asking).await })
            });
            if boarding.is_joined() {
                counter!(metric::SINGLE_FLIGHT_JOINS).increment(1);
            }
            let is_poll = boarding.is_poll;
            match boarding.landing().await {
                // A poll is one attempt only; a call gets its retries.
                Err(error) if is_poll && retry::shortest_wait(&error).is_some() => {}
                landing => return landing,
            }
        }
    }

    async fn fetch(
        &self,
        credential: &Credential,
        id: &SessionId,
        bound: &Bound,
        asking: Asking,
    ) -> Landing {
        let landing = self.0.upstream.ask(credential, &session_question(id), bound, asking).await;
        self.landed(credential, id, landing)
    }

    /// Remembers what is worth it, and forgets what the vendor would not show any more.
    fn landed(
        &self,
        credential: &Credential,
        id: &SessionId,
        landing: Result<Answer<(Session, usize)>, Error>,
    ) -> Landing {
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
                self.0.finished.put(credential.id(), id, &answer, size);
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
