//! Sessions, for unary calls and for polls, and how requests for the same session are shared.
//!
//! There are two levels. Identical **calls** of one caller are one call, with one place in the quota
//! queue and one series of retries. A **request** that has been sent is shared by all who ask for the
//! same session by the same credential, polls and other callers too. So nobody waits in another
//! caller's place.

use std::sync::Arc;

use metrics::counter;

use super::{
    Client,
    call::{Call, RequestContext},
    metric,
    quota::{Class, Urgency},
    shared_request::Outcome,
    upstream::{Admission, Failed},
    within,
};
use crate::{
    credential::Credential,
    model::{Session, SessionId, validator},
    trace::Cause,
    wire::{Answer, Error, Kind, endpoint},
};

/// A call for a session, whose answer comes with the size of its JSON in bytes.
type SessionCall = Call<(Session, usize)>;

impl Client {
    /// One session, for a unary call.
    ///
    /// A caller who leaves ends the request, unless others wait for it too.
    pub async fn session(
        &self,
        credential: &Credential,
        id: &SessionId,
        context: RequestContext,
    ) -> Result<Answer<Arc<Session>>, Error> {
        if !context.skips_cache
            && let Some(answer) = self.0.finished.get(credential.id(), id)
        {
            counter!(metric::FINISHED_CACHE_HITS).increment(1);
            return Ok(answer);
        }
        let slot = self.0.calls.slot(&(credential.id(), credential.caller(), id.clone()));
        within(context.deadline, async {
            loop {
                let (call, is_joined) = slot.join_or_start(|| {
                    slot.deadline.set(context.deadline);
                    let call = Call::new(credential, endpoint::session(id), Class::Unary, &context);
                    self.clone().call(id.clone(), Call { deadline: slot.deadline.clone(), ..call })
                });
                if is_joined {
                    slot.deadline.extend(context.deadline);
                    counter!(metric::SHARED_REQUESTS).increment(1);
                }
                match call.await {
                    // It ended before it heard that this caller has more time.
                    Err(error) if is_joined && error.is_of_quota() => {}
                    outcome => return outcome,
                }
            }
        })
        .await
    }

    /// One session, for a watch. It waits for the quota as long as it takes, unless the vendor wants a
    /// pause, and makes a single attempt: the poll that asks comes again by itself.
    pub async fn poll_session(
        &self,
        credential: &Credential,
        id: &SessionId,
        urgency: Urgency,
        cause: &Cause,
    ) -> Result<Answer<Arc<Session>>, Error> {
        let context = RequestContext { cause: cause.clone(), ..RequestContext::default() };
        let call = Call::new(credential, endpoint::session(id), Class::Watch(urgency), &context);
        self.attempt(id, &Arc::new(call)).await.map_err(Failed::into_error)
    }

    /// A unary call with its retries.
    async fn call(self, id: SessionId, call: SessionCall) -> Outcome {
        let call = Arc::new(call);
        self.0.upstream.ask(&call, || self.attempt(&id, &call)).await
    }

    /// One answer: of the request in flight or of the next one, whoever starts it. That is the call
    /// itself as soon as the quota admits it.
    async fn attempt(
        &self,
        id: &SessionId,
        call: &Arc<SessionCall>,
    ) -> Result<Answer<Arc<Session>>, Failed> {
        let slot = self.0.requests.slot(&(call.credential.id(), id.clone()));
        loop {
            let (request, is_joined) = tokio::select! {
                biased;
                request = slot.join() => (request, true),
                admission = self.0.upstream.admission(call) => {
                    let admission = admission.map_err(Failed::NotSent)?;
                    let request = || self.clone().request(id.clone(), call.clone(), admission);
                    slot.join_or_start(request)
                }
            };
            if is_joined {
                counter!(metric::SHARED_REQUESTS).increment(1);
            }
            match request.await {
                // The sender had too little time for a second request, with a fresh credential.
                Err(error) if is_joined && error.is_of_quota() => {}
                outcome => return outcome.map_err(Failed::Sent),
            }
        }
    }

    /// One request. Remembers a finished session, and forgets what the vendor does not show any more.
    async fn request(self, id: SessionId, call: Arc<SessionCall>, admission: Admission) -> Outcome {
        let credential = &call.credential;
        let answer = self.0.upstream.send(admission, &call).await;
        let identity = self.0.identities.get(&(credential.id(), id.clone()));
        let believed = answer.and_then(|answer| {
            let checked = validator::check(identity, &answer.content.0);
            checked.map_err(|rejection| Error::new(Kind::Malformed).caused_by(rejection))?;
            Ok(answer)
        });
        match believed {
            Ok(Answer { content: (session, size), observed_at }) => {
                self.0.unknown_fields.note(&session.additional_fields);
                let answer = Answer { content: Arc::new(session), observed_at };
                self.0.finished.put(credential, &id, &answer, size);
                Ok(answer)
            }
            Err(error) => {
                if matches!(error.kind, Kind::NotFound | Kind::PermissionDenied) {
                    self.0.finished.forget(credential.id(), &id);
                }
                self.forget_if_refused(credential, &error);
                Err(error)
            }
        }
    }
}
