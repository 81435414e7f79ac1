//! Reads sessions for unary calls and polls, and shares requests for the same session.
//!
//! There are two levels. Identical **calls** of one caller are merged into one call, with one entry
//! in the quota queue and one series of retries. A **request** that has been sent is shared by all
//! calls and polls for the same session and credential, also those of other callers. So a caller
//! never depends on the queue position of another caller.

use std::sync::Arc;

use metrics::counter;

use super::{
    Client,
    call::{Call, RequestContext},
    metric,
    quota::{Class, Urgency},
    shared_request::Outcome,
    upstream::{Admission, Failed},
};
use crate::{
    credential::Credential,
    model::{Session, SessionId, validator},
    trace::Cause,
    wire::{Answer, Error, Kind, endpoint},
};

impl Client {
    /// Reads a session for a unary call.
    ///
    /// If a caller leaves, the request is cancelled, unless other callers wait for it.
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
        let start = || {
            let (endpoint, deadline) = (endpoint::session(id), slot.deadline.clone());
            let call = Call::new(credential, endpoint, Class::Unary, deadline, &context);
            self.clone().call(id.clone(), call)
        };
        slot.call(context.deadline, start).await
    }

    /// Reads a session for a watch. It waits for the quota without a limit, unless the vendor wants
    /// a pause. It makes a single attempt, because the poll asks again by itself.
    pub async fn poll_session(
        &self,
        credential: &Credential,
        id: &SessionId,
        urgency: Urgency,
        cause: &Cause,
    ) -> Result<Answer<Arc<Session>>, Error> {
        let context = RequestContext { cause: cause.clone(), ..RequestContext::default() };
        let (endpoint, class) = (endpoint::session(id), Class::Watch(urgency));
        let call = Call::new(credential, endpoint, class, Arc::default(), &context);
        self.attempt(id, &Arc::new(call)).await.map_err(Failed::into_error)
    }

    /// Makes a unary call with its retries.
    async fn call(self, id: SessionId, call: Call) -> Outcome<Session> {
        let call = Arc::new(call);
        self.0.upstream.ask(&call, || self.attempt(&id, &call)).await
    }

    /// Makes one attempt. It joins the in-flight request, or the next one that another call starts.
    /// If the quota admits this call first, it starts the request itself.
    async fn attempt(
        &self,
        id: &SessionId,
        call: &Arc<Call>,
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
                // The call that sent the request had too little time to repeat it with a fresh
                // credential.
                Err(error) if is_joined && error.is_of_quota() => {}
                outcome => return outcome.map_err(Failed::Sent),
            }
        }
    }

    /// Sends one request. Caches a finished session, and forgets a session that the vendor no
    /// longer shows.
    async fn request(
        self,
        id: SessionId,
        call: Arc<Call>,
        admission: Admission,
    ) -> Outcome<Session> {
        let credential = &call.credential;
        let answer = self.0.upstream.send(admission, &call, &mut endpoint::decode_session).await;
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
