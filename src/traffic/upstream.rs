//! One attempt, and a call made of several: breaker, quota, credential, exchange, reading.

use http::HeaderValue;
use metrics::counter;
use tokio::time::{Instant, sleep};

use crate::{
    clock::Clock,
    credential::{
        Credential, CredentialId,
        token::{Authorization, TokenSource},
    },
    traffic::{
        breaker::{Breaker, Permit, Subject},
        in_flight::Bound,
        metric,
        observation::{Observation, RequestMetrics},
        quota::{Class, Quota},
        retry::Retries,
        terms::Asking,
        upstream_stats::UpstreamStats,
    },
    wire::{
        Answer, ConnectionFailure, Error, Kind,
        endpoint::Endpoint,
        http_client::Connection,
        status,
        transport::{Reply, Transport},
    },
};

/// The vendor, with everything that stands between it and us.
pub(super) struct Upstream {
    pub transport: Transport,
    pub quota: Quota,
    pub breaker: Breaker,
    pub retries: Retries,
    pub tokens: Option<TokenSource>,
    pub stats: UpstreamStats,
    pub metrics: RequestMetrics,
    pub clock: Clock,
}

/// The right to send one request now.
pub(super) struct Pass {
    credential: Credential,
    authorization: HeaderValue,
    /// The service's own token, if that is what `authorization` holds.
    own: Option<Authorization>,
    permit: Permit,
}

/// Why an attempt gave no answer.
pub(super) enum Failed {
    /// Nothing was sent: the breaker, the quota or the service's own credential forbids it.
    NotSent(Error),
    /// A request was sent.
    Sent(Error),
}

impl Failed {
    pub fn into_error(self) -> Error {
        let (Failed::NotSent(error) | Failed::Sent(error)) = self;
        error
    }
}

impl Upstream {
    /// Makes a unary call of one attempt or several, where another is worth it. `attempt` is given
    /// its deadline; `bound` is when the last of the callers stops waiting.
    pub async fn ask<T, U, F: Future<Output = Result<Answer<T>, Failed>>>(
        &self,
        credential: &Credential,
        endpoint: &Endpoint<U>,
        bound: &Bound,
        attempt: impl Fn(Option<Instant>) -> F,
    ) -> Result<Answer<T>, Error> {
        let subject = self.breaker.subject(credential.caller(), &endpoint.path);
        let mut delays = self.retries.of_call();
        let mut refusal = None;
        loop {
            let deadline = bound.get();
            let error = match attempt(deadline).await {
                Ok(answer) => return Ok(answer),
                // A caller with more time has joined.
                Err(Failed::NotSent(error)) if error.is_of_quota() && bound.get() != deadline => {
                    continue;
                }
                // What the vendor said before tells more than that we cannot ask again.
                Err(Failed::NotSent(error)) => return Err(refusal.unwrap_or(error)),
                Err(Failed::Sent(error)) => error,
            };
            let Some(pause) = self.retries.pause(subject, &error, &mut delays, bound.get()) else {
                return Err(error);
            };
            counter!(metric::RETRIES, "call" => endpoint.name.text()).increment(1);
            refusal = Some(error);
            sleep(pause).await;
        }
    }

    /// Waits for the right to send one request.
    pub async fn pass<T>(
        &self,
        credential: &Credential,
        endpoint: &Endpoint<T>,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<Pass, Error> {
        let subject = self.breaker.subject(credential.caller(), &endpoint.path);
        match (credential.authorization(), &self.tokens) {
            (Some(authorization), _) => {
                let mut authorization = HeaderValue::from_str(authorization)
                    .map_err(|_| Error::new(Kind::CredentialRejected))?;
                authorization.set_sensitive(true);
                self.pass_with(credential, subject, authorization, None, class, deadline).await
            }
            (None, Some(tokens)) => {
                let own = tokens.authorization().await?;
                let header = own.header_value();
                self.pass_with(credential, subject, header, Some(own), class, deadline).await
            }
            (None, None) => Err(Error::new(Kind::CredentialUnavailable)),
        }
    }

    async fn pass_with(
        &self,
        credential: &Credential,
        subject: Subject,
        authorization: HeaderValue,
        own: Option<Authorization>,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<Pass, Error> {
        let permit = self.breaker.enter(subject, deadline)?;
        self.admit(credential, class, deadline).await?;
        Ok(Pass { credential: credential.clone(), authorization, own, permit })
    }

    /// Waits for the quota.
    async fn admit(
        &self,
        credential: &Credential,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let began_at = Instant::now();
        let admitted =
            self.quota.admit_for(credential.caller(), credential.id(), class, deadline).await;
        self.metrics.record_wait(class, began_at.elapsed());
        admitted
    }

    /// Sends one request and reads the answer. If the vendor refuses the service's own credential,
    /// once more with a fresh one.
    pub async fn send<T>(
        &self,
        pass: Pass,
        endpoint: &Endpoint<T>,
        deadline: Option<Instant>,
        asking: &Asking,
    ) -> Result<Answer<T>, Error> {
        let (credential, own) = (pass.credential.clone(), pass.own.clone());
        let subject = pass.permit.subject();
        let outcome = self.attempt(pass, endpoint, deadline, asking).await;
        let (
            Err(refusal @ Error { kind: Kind::CredentialRejected, .. }),
            Some(refused),
            Some(tokens),
        ) = (&outcome, own, &self.tokens)
        else {
            return outcome;
        };
        let fresh = tokens.refused(&refused).await.map_err(|error| match error.kind {
            // It is this answer that says so.
            Kind::NoSeat => Error { kind: Kind::NoSeat, ..refusal.clone() },
            _ => error,
        })?;
        let (header, has_worked) = (fresh.header_value(), fresh.has_worked());
        let own = Some(fresh.clone());
        let pass =
            self.pass_with(&credential, subject, header, own, Class::Unary, deadline).await?;
        self.attempt(pass, endpoint, deadline, asking).await.map_err(|error| match error.kind {
            // It has worked for other calls, so it was revoked since.
            Kind::CredentialRejected if has_worked => {
                Error { kind: Kind::CredentialUnavailable, ..error }
            }
            Kind::CredentialRejected => {
                tokens.refused_again(&fresh);
                Error { kind: Kind::NoSeat, ..error }
            }
            _ => error,
        })
    }

    /// Sends one request, and the same once more at once if the vendor closed a kept-alive connection
    /// just as it was used again. Such a close is no failure of the vendor's: the quota counts both
    /// requests, but the retries and the breaker count the second alone.
    async fn attempt<T>(
        &self,
        pass: Pass,
        endpoint: &Endpoint<T>,
        deadline: Option<Instant>,
        asking: &Asking,
    ) -> Result<Answer<T>, Error> {
        let Pass { credential, authorization, own, mut permit } = pass;
        permit.send()?;
        let header = authorization.clone();
        let mut outcome =
            self.exchange(credential.id(), header, endpoint, Connection::Any, asking).await;
        if let Err(Error { connection: Some(ConnectionFailure::KeepAliveClosed), .. }) = outcome
            && self.admit(&credential, Class::Unary, deadline).await.is_ok()
        {
            self.stats.count_resent();
            let connection = Connection::New;
            outcome =
                self.exchange(credential.id(), authorization, endpoint, connection, asking).await;
        }
        permit.settle(&outcome);
        self.stats.count(&outcome);
        if let (Ok(_), Some(own)) = (&outcome, &own) {
            own.note_success();
        }
        outcome
    }

    async fn exchange<T>(
        &self,
        credential: CredentialId,
        authorization: HeaderValue,
        endpoint: &Endpoint<T>,
        connection: Connection,
        asking: &Asking,
    ) -> Result<Answer<T>, Error> {
        let resends = asking.call_stats.begin();
        let span = asking.cause.request(endpoint.template, self.transport.host(), resends);
        let headers = span.headers();
        let mut observation =
            Observation::begin(&self.metrics, endpoint.name, asking.call_stats.clone(), span);
        let reply = self.transport.get(&endpoint.path, authorization, headers, connection).await;
        observation.status = match &reply {
            Ok(reply) => Some(reply.status.as_u16()),
            Err(error) => error.http_status,
        };
        let outcome = reply.and_then(|reply| self.read(credential, &reply, endpoint));
        observation.end(outcome.as_ref().map(drop));
        outcome
    }

    fn read<T>(
        &self,
        credential: CredentialId,
        reply: &Reply,
        endpoint: &Endpoint<T>,
    ) -> Result<Answer<T>, Error> {
        let observed_at = self.clock.now();
        let Reply { status, headers, body } = reply;
        let outcome = if status.is_success() {
            (endpoint.decode)(body).map_err(|malformed| {
                status::error_in_success(*status, headers, body, observed_at, malformed)
            })
        } else {
            Err(status::error(*status, headers, body, observed_at))
        };
        match &outcome {
            Err(Error { kind: Kind::RateLimited, retry_after, .. }) => {
                self.quota.slow_down(credential, *retry_after);
            }
            _ => self.quota.speed_up(credential),
        }
        outcome.map(|content| Answer { content, observed_at })
    }
}
