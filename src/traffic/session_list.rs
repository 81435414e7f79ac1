//! Reads the list of sessions, and its pages if it has any.

use std::sync::Arc;

use super::{
    Client,
    call::{Call, RequestContext},
    quota::Class,
    shared_request::Outcome,
    upstream::Failed,
};
use crate::{
    credential::Credential,
    model::{ListQuery, ListWindow, ListedSession, SessionPage, session_page::PageCollector},
    trace::Cause,
    wire::{Answer, Error, ListSummary, endpoint, session_list::ListReader},
};

/// The most pages of a list that are read.
const MAX_PAGES: u32 = 100;

impl Client {
    /// Reads a page of the list for a unary call.
    ///
    /// Identical calls of one caller are merged into one. If a caller leaves, the request is
    /// cancelled, unless other callers wait for it.
    pub async fn list_sessions(
        &self,
        credential: &Credential,
        query: &ListQuery,
        context: RequestContext,
    ) -> Result<Answer<Arc<SessionPage>>, Error> {
        let slot = self.0.lists.slot(&(credential.id(), credential.caller(), query.clone()));
        let start = || {
            let window = query.window(self.0.upstream.clock.now());
            let (endpoint, deadline) = (endpoint::sessions(&window, 1), slot.deadline.clone());
            let call = Call::new(credential, endpoint, Class::Unary, deadline, &context);
            self.clone().list(query.clone(), window, call)
        };
        slot.call(context.deadline, start).await
    }

    /// Reads the list for the feed. Makes a single attempt, and waits for the quota as a request of
    /// `class` does. Passes each session to `keep` as soon as it is read.
    ///
    /// After an error the sessions that were kept must be discarded: they may be anything.
    pub async fn sweep_sessions(
        &self,
        credential: &Credential,
        window: &ListWindow,
        class: Class,
        cause: &Cause,
        keep: impl FnMut(ListedSession) + Send,
    ) -> Result<Answer<ListSummary>, Error> {
        let context = RequestContext { cause: cause.clone(), ..RequestContext::default() };
        let call =
            Call::new(credential, endpoint::sessions(window, 1), class, Arc::default(), &context);
        let answer = self.read_pages(&call, window, keep).await.map_err(Failed::into_error);
        if let Err(error) = &answer {
            self.forget_if_refused(credential, error);
        }
        answer
    }

    /// Makes a unary call with its retries. Each attempt begins with the first page of the vendor.
    async fn list(self, query: ListQuery, window: ListWindow, call: Call) -> Outcome<SessionPage> {
        let attempt = || async {
            let mut collector = PageCollector::new(&query);
            let answer = self.read_pages(&call, &window, |listed| collector.add(listed)).await?;
            let (content, observed_at) = (collector.page(window), answer.observed_at);
            Ok(Answer { content: Arc::new(content), observed_at })
        };
        let answer = self.0.upstream.ask(&call, attempt).await;
        match &answer {
            Ok(page) => {
                for listed in &page.content.sessions {
                    self.0.unknown_fields.note(&listed.session.additional_fields);
                }
            }
            Err(error) => self.forget_if_refused(&call.credential, error),
        }
        answer
    }

    /// Reads all pages. Asks for the next page while the vendor says that there are more sessions and
    /// each page brings some.
    async fn read_pages(
        &self,
        call: &Call,
        window: &ListWindow,
        keep: impl FnMut(ListedSession) + Send,
    ) -> Result<Answer<ListSummary>, Failed> {
        let mut reader = ListReader::new(keep);
        let (mut page, mut first_at) = (1, None);
        loop {
            let call = &Call { endpoint: endpoint::sessions(window, page), ..call.clone() };
            let admission = self.0.upstream.admission(call).await.map_err(Failed::NotSent)?;
            let answer = self.0.upstream.send(admission, call, &mut reader).await;
            let Answer { content: new, observed_at } = answer.map_err(Failed::Sent)?;
            let observed_at = *first_at.get_or_insert(observed_at);
            let summary = reader.summary();
            if new == 0 || !summary.lacks_some() || page == MAX_PAGES {
                return Ok(Answer { content: summary, observed_at });
            }
            page += 1;
        }
    }
}
