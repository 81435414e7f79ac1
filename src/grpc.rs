//! The gRPC API. Converts between the messages of the API and the model.

pub mod caller;
pub mod concurrency;
pub mod deadline;
pub mod health;
pub mod methods;
mod metric;
pub mod page_token;
pub mod peer;
pub mod reason;
pub mod resume_token;
mod seal;
pub mod session;
pub mod session_digest;
mod session_list;
pub mod status;
mod system_link;
mod value;
pub mod watch;
pub mod watch_sessions;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    clock::Clock,
    credential::Credential,
    feed::Feed,
    model::SessionId,
    proto::{
        self, incoming::WatchSessionsRequestParts,
        serving::remote_support_service_server::RemoteSupportService,
    },
    traffic,
    traffic::RequestContext,
};
use caller::Callers;
use concurrency::CallConcurrency;
use deadline::Deadline;
use page_token::PageTokenCodec;
use peer::Peer;
use resume_token::ResumeTokenCodec;
use session_digest::{NotedSession, SessionDigests};
use watch::{Messages, Watches};

/// The gRPC service. Each handler checks the request, makes the call and converts the answer.
#[derive(Clone, Debug)]
pub struct Service {
    /// The client for the vendor.
    pub client: traffic::Client,
    /// The shared polls.
    pub feed: Feed,
    /// What all watches share.
    pub watches: Watches,
    /// Limits the concurrent unary calls.
    pub concurrency: CallConcurrency,
    /// Encodes and decodes resume tokens.
    pub resume_tokens: Arc<ResumeTokenCodec>,
    /// Gives sessions names for operators.
    pub session_digests: SessionDigests,
    /// Encodes and decodes page tokens.
    pub page_tokens: Arc<PageTokenCodec>,
    /// The wall clock.
    pub clock: Clock,
    /// Authenticates callers, and chooses the credential for the vendor.
    pub callers: Arc<Callers>,
    /// The deadline of calls that set none.
    pub default_deadline: Duration,
}

#[tonic::async_trait]
impl RemoteSupportService for Service {
    async fn get_session(
        &self,
        request: Request<proto::GetSessionRequest>,
    ) -> Result<Response<proto::GetSessionResponse>, Status> {
        session::get(self, request).await
    }

    async fn list_sessions(
        &self,
        request: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        session_list::list(self, request).await
    }

    async fn list_system_links(
        &self,
        request: Request<proto::ListSystemLinksRequest>,
    ) -> Result<Response<proto::ListSystemLinksResponse>, Status> {
        system_link::list(self, request).await
    }

    type WatchSessionStream = Messages;

    async fn watch_session(
        &self,
        request: Request<proto::WatchSessionRequest>,
    ) -> Result<Response<Messages>, Status> {
        watch::watch(self, request).await
    }

    type WatchSessionsStream = watch_sessions::Messages;

    async fn watch_sessions(
        &self,
        request: Request<Streaming<WatchSessionsRequestParts>>,
    ) -> Result<Response<watch_sessions::Messages>, Status> {
        watch_sessions::watch(self, request)
    }
}

impl Service {
    /// Notes the session that a call is about, for its log line.
    fn note_session<T>(&self, request: &Request<T>, session: &SessionId) {
        if let Some(noted) = request.extensions().get::<NotedSession>() {
            noted.note(self.session_digests.of(session));
        }
    }

    fn credential<T>(&self, request: &Request<T>) -> Result<Credential, Status> {
        let peer = request.extensions().get::<Peer>();
        let certificates = peer.map(Peer::certificates).unwrap_or_default();
        self.callers
            .credential(request.metadata().as_ref(), certificates)
            .map_err(|why| status::of_caller(why, self.callers.bring_vendor_credentials()))
    }

    /// Returns the context of a unary call. If the call has no deadline, it gets the default one.
    fn request_context<T>(&self, request: &Request<T>) -> RequestContext {
        let own = request.extensions().get().map(|Deadline(at)| *at);
        let deadline = own.unwrap_or_else(|| Instant::now() + self.default_deadline);
        let extension = request.extensions();
        RequestContext {
            deadline: Some(deadline),
            cause: extension.get().cloned().unwrap_or_default(),
            call_stats: extension.get().cloned().unwrap_or_default(),
            skips_cache: false,
        }
    }

    /// Returns the context for the first answer of a watch. The deadline of the watch itself may be
    /// hours away, so the default one applies too.
    fn opening_context<T>(&self, request: &Request<T>) -> RequestContext {
        let context = self.request_context(request);
        let limit = Instant::now() + self.default_deadline;
        RequestContext { deadline: context.deadline.map(|deadline| deadline.min(limit)), ..context }
    }
}

/// Returns the text of a metadata entry, if the request has it.
fn optional_metadata<'a, T>(
    request: &'a Request<T>,
    name: &str,
) -> Result<Option<&'a str>, Status> {
    let value = request.metadata().get(name);
    status::checked(name, value.map(|value| value.to_str()).transpose())
}
