//! How a session is asked for, and what those share who ask for the same at the same time.

use std::sync::Arc;

use metrics::counter;
use tokio::time::Instant;

use crate::{
    credential::{Credential, CredentialId},
    model::{Session, SessionId},
    trace::Cause,
    traffic::{
        Client,
        in_flight::{Bound, InFlight, Outcome},
        metric,
        quota::{Class, class::Urgency},
        terms::{Asking, Terms},
        upstream::Failed,
        within,
    },
    wire::{
        Answer, Error,
        endpoint::{self, Endpoint},
    },
};

/// What is shared, on two levels. Identical calls of one caller share one call, with its place in
/// the quota queue and its retries. Whoever asks for the same by the same credential, polls and
/// other callers too, shares a request that has been sent: so nobody waits in another's place.
#[derive(Default)]
pub(super) struct Coalescing {
    calls: InFlight<(CredentialId, CredentialId, SessionId)>,
    requests: InFlight<(CredentialId, SessionId)>,
}

impl Client {
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
            let Coalescing { calls, .. } = &self.0.coalescing;
            let key = (credential.id(), credential.caller(), id.clone());
            loop {
                let (call, is_joined) = calls.join_or_start(&key, terms.deadline, |bound| {
                    let (this, credential, id) = (self.clone(), credential.clone(), id.clone());
                    let asking = terms.asking();
                    async move { this.call(&credential, &id, &bound, asking).await }
                });
                if is_joined {
                    counter!(metric::SINGLE_FLIGHT_JOINS).increment(1);
                }
                match call.await {
                    // It was over before it heard that this caller has more time.
                    Err(error) if is_joined && error.is_of_quota() => {}
                    outcome => return outcome,
                }
            }
        })
        .await
    }

    /// One session, for a watch: waits for quota behind every unary call, as long as it takes unless
    /// the vendor wants a pause. A single attempt, without retry: the poller that asks has a rhythm of
    /// its own.
    pub async fn poll_session(
        &self,
        credential: &Credential,
        id: &SessionId,
        urgency: Urgency,
        cause: &Cause,
    ) -> Result<Answer<Arc<Session>>, Error> {
        let asking = Asking { cause: cause.clone(), ..Asking::default() };
        let endpoint = endpoint::session(id);
        let attempt = self.attempt(credential, id, &endpoint, Class::Watch(urgency), None, asking);
        attempt.await.map_err(Failed::into_error)
    }

    /// A unary call, with its retries.
    async fn call(
        &self,
        credential: &Credential,
        id: &SessionId,
        bound: &Bound,
        asking: Asking,
    ) -> Outcome {
        let endpoint = endpoint::session(id);
        // Boxed for the sake of those who share it: they need no room for it.
        Box::pin(self.0.upstream.ask(credential, &endpoint, bound, |deadline| {
            self.attempt(credential, id, &endpoint, Class::Unary, deadline, asking.clone())
        }))
        .await
    }

    /// One answer: of the request in flight, if there is one or another starts first; else of a
    /// request of one's own, as soon as the quota admits it.
    async fn attempt(
        &self,
        credential: &Credential,
        id: &SessionId,
        endpoint: &Endpoint<(Session, usize)>,
        class: Class,
        deadline: Option<Instant>,
        asking: Asking,
    ) -> Result<Answer<Arc<Session>>, Failed> {
        let upstream = &self.0.upstream;
        let pass = || upstream.pass(credential, endpoint, class, deadline);
        let Coalescing { requests, .. } = &self.0.coalescing;
        let key = (credential.id(), id.clone());
        loop {
            let request = match requests.join(&key) {
                Ok(request) => request,
                Err(mut next) => tokio::select! {
                    biased;
                    request = next.started() => request,
                    pass = pass() => {
                        drop(next);
                        let pass = pass.map_err(Failed::NotSent)?;
                        let (this, credential, id) = (self.clone(), credential.clone(), id.clone());
                        let endpoint = endpoint.clone();
                        let request = requests.start(key, async move {
                            let upstream = &this.0.upstream;
                            let answer = upstream.send(pass, &endpoint, deadline, &asking).await;
                            this.landed(&credential, &id, answer)
                        });
                        return request.await.map_err(Failed::Sent);
                    }
                },
            };
            counter!(metric::SINGLE_FLIGHT_JOINS).increment(1);
            match request.await {
                // Whoever sent it had too little time for a second request, with a fresh credential.
                Err(error) if error.is_of_quota() => {}
                outcome => return outcome.map_err(Failed::Sent),
            }
        }
    }
}
