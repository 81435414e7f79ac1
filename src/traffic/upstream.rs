//! Makes attempts to ask the vendor, and calls that consist of several attempts. An attempt needs a
//! credential, passes the circuit breaker and the quota, sends the request and reads the reply.

use http::HeaderValue;
use metrics::counter;
use tokio::time::{Instant, sleep};

use super::{
    breaker::{Breaker, Permit},
    call::Call,
    metric::{self, Observation, RequestMetrics},
    quota::{Class, Quota},
    retry::Retries,
    stats::UpstreamStats,
};
use crate::{
    clock::Clock,
    credential::{
        CredentialId,
        token::{Authorization, TokenSource},
    },
    fleet,
    wire::{
        Answer, ConnectionFailure, Error, Kind,
        decode::Decode,
        http_client::Connection,
        status,
        transport::{Reply, Transport},
    },
};

/// The transport to the vendor, and everything that a request passes before it.
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
pub(super) struct Admission {
    quota: fleet::Permit,
    authorization: HeaderValue,
    /// The service's own token, if the request uses it.
    own: Option<Authorization>,
    permit: Permit,
}

/// Why an attempt failed.
pub(super) enum Failed {
    /// Nothing was sent, because of the breaker, the quota or the service's own credential.
    NotSent(Error),
    /// A request was sent and failed.
    Sent(Error),
}

impl Failed {
    pub fn into_error(self) -> Error {
        let (Failed::NotSent(error) | Failed::Sent(error)) = self;
        error
    }
}

impl Upstream {
    /// Makes a unary call. Repeats the attempt where a retry is allowed.
    pub async fn ask<T, F: Future<Output = Result<Answer<T>, Failed>>>(
        &self,
        call: &Call,
        attempt: impl Fn() -> F,
    ) -> Result<Answer<T>, Error> {
        let mut delays = self.retries.of_call();
        let mut refusal = None;
        loop {
            let deadline = call.deadline.get();
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(Failed::NotSent(error))
                    if error.is_of_quota() && call.deadline.get() != deadline =>
                {
                    // A caller with more time has joined.
                    continue;
                }
                // The error of an earlier attempt says more than the error that prevented this one.
                Err(Failed::NotSent(error)) => return Err(refusal.unwrap_or(error)),
                Err(Failed::Sent(error)) => error,
            };
            let pause = self.retries.pause(call.subject, &error, &mut delays, call.deadline.get());
            let Some(pause) = pause else { return Err(error) };
            counter!(metric::RETRIES, "call" => call.endpoint.name.text()).increment(1);
            refusal = Some(error);
            sleep(pause).await;
        }
    }

    /// Waits for the admission of one request.
    pub async fn admission(&self, call: &Call) -> Result<Admission, Error> {
        let (authorization, own) = match (call.credential.authorization(), &self.tokens) {
            (Some(text), _) => {
                let mut authorization = HeaderValue::from_str(text)
                    .map_err(|_| Error::new(Kind::CredentialRejected))?;
                authorization.set_sensitive(true);
                (authorization, None)
            }
            (None, Some(tokens)) => {
                let own = tokens.authorization().await?;
                (own.header_value(), Some(own))
            }
            (None, None) => return Err(Error::new(Kind::CredentialUnavailable)),
        };
        let permit = self.breaker.enter(call.subject, call.deadline.get())?;
        let quota = self.wait_for_quota(call, call.class.clone()).await?;
        Ok(Admission { quota, authorization, own, permit })
    }

    async fn wait_for_quota(&self, call: &Call, class: Class) -> Result<fleet::Permit, Error> {
        let (credential, began_at) = (&call.credential, Instant::now());
        let (caller, id) = (credential.caller(), credential.id());
        let wait = self.metrics.wait(&class);
        let admitted = self.quota.admit_for(caller, id, class, call.deadline.get()).await;
        wait.record(began_at.elapsed());
        admitted
    }

    /// Waits for another permit if this one has ended. That happens if the process was paused
    /// between the admission and the request.
    async fn renew(&self, mut quota: fleet::Permit, call: &Call) -> Result<(), Error> {
        while !quota.is_valid() {
            quota = self.wait_for_quota(call, call.class.clone()).await?;
        }
        Ok(())
    }

    /// Sends one request and reads the answer. If the vendor refuses the service's own credential,
    /// sends a second request with a fresh credential.
    pub async fn send<T>(
        &self,
        admission: Admission,
        call: &Call,
        decode: &mut impl Decode<T>,
    ) -> Result<Answer<T>, Error> {
        let own = admission.own.clone();
        let outcome = self.attempt(admission, call, decode).await;
        let (
            Err(refusal @ Error { kind: Kind::CredentialRejected, .. }),
            Some(refused),
            Some(tokens),
        ) = (&outcome, own, &self.tokens)
        else {
            return outcome;
        };
        let fresh = tokens.refused(&refused).await.map_err(|error| match error.kind {
            // The refusal has the details of the answer, which the error lacks.
            Kind::NoSeat => Error { kind: Kind::NoSeat, ..refusal.clone() },
            _ => error,
        })?;
        let (authorization, has_worked) = (fresh.header_value(), fresh.has_worked());
        let permit = self.breaker.enter(call.subject, call.deadline.get())?;
        let quota = self.wait_for_quota(call, Class::Unary).await?;
        let admission = Admission { quota, authorization, own: Some(fresh.clone()), permit };
        self.attempt(admission, call, decode).await.map_err(|error| match error.kind {
            // The credential has worked for other calls, so it has been revoked since.
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

    /// Sends one request. Resends it at once if the vendor closed a kept-alive connection while the
    /// request was being sent. Such a close is not a failure of the vendor. The quota counts both
    /// requests; the retries and the breaker count only the second one.
    async fn attempt<T>(
        &self,
        admission: Admission,
        call: &Call,
        decode: &mut impl Decode<T>,
    ) -> Result<Answer<T>, Error> {
        let Admission { quota, authorization, own, mut permit } = admission;
        self.renew(quota, call).await?;
        permit.send()?;
        let mut outcome = self.exchange(call, authorization.clone(), Connection::Any, decode).await;
        if let Err(Error { connection: Some(ConnectionFailure::KeepAliveClosed), .. }) = outcome
            && let Ok(quota) = self.wait_for_quota(call, Class::Unary).await
            && self.renew(quota, call).await.is_ok()
        {
            self.stats.count_resent();
            outcome = self.exchange(call, authorization, Connection::New, decode).await;
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
        call: &Call,
        authorization: HeaderValue,
        connection: Connection,
        decode: &mut impl Decode<T>,
    ) -> Result<Answer<T>, Error> {
        let endpoint = &call.endpoint;
        let resends = call.stats.begin();
        let span = call.cause.request(endpoint.template, self.transport.host(), resends);
        let headers = span.headers();
        let mut observation =
            Observation::begin(&self.metrics, endpoint.name, call.stats.clone(), span);
        let (transport, reader) = (&self.transport, decode.body_reader());
        let reply = transport.get(&endpoint.path, authorization, headers, connection, reader).await;
        observation.status = match &reply {
            Ok(reply) => Some(reply.status.as_u16()),
            Err(error) => error.http_status,
        };
        let outcome = reply.and_then(|reply| self.read(call.credential.id(), &reply, decode));
        observation.end(&outcome);
        outcome
    }

    fn read<T>(
        &self,
        credential: CredentialId,
        reply: &Reply,
        decode: &mut impl Decode<T>,
    ) -> Result<Answer<T>, Error> {
        let observed_at = self.clock.now();
        let Reply { status, headers, body } = reply;
        let outcome = if status.is_success() {
            decode.decode(body).map_err(|malformed| {
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
