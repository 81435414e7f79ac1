//! The north face: the gRPC API. The only place that knows protobuf and gRPC.

pub mod caller;
pub mod code;
pub mod concurrency;
pub mod deadline;
pub mod health;
pub mod methods;
mod metric;
pub mod peer;
pub mod resume_token;
pub mod session;
pub mod status;
mod system_link;
mod value;
pub mod watch;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::{
    clock::Clock,
    credential::Credential,
    feed::Feed,
    proto::{self, serving::remote_support_service_server::RemoteSupportService},
    traffic,
    traffic::RequestContext,
};
use caller::Callers;
use concurrency::CallConcurrency;
use deadline::Deadline;
use peer::Peer;
use resume_token::ResumeTokenCodec;
use watch::{Messages, Watches};

/// The service: every handler checks, calls, converts.
#[derive(Clone, Debug)]
pub struct Service {
    /// Asks the vendor.
    pub client: traffic::Client,
    /// The shared polls.
    pub feed: Feed,
    /// What all watches have to do with each other.
    pub watches: Watches,
    /// Limits the unary calls at once.
    pub concurrency: CallConcurrency,
    /// Encodes and decodes resume tokens.
    pub resume_tokens: Arc<ResumeTokenCodec>,
    /// What time it is.
    pub clock: Clock,
    /// Who may call, and by whose right the vendor is asked for them.
    pub callers: Arc<Callers>,
    /// How long a call without a deadline of its own may take.
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
}

impl Service {
    fn credential<T>(&self, request: &Request<T>) -> Result<Credential, Status> {
        let peer = request.extensions().get::<Peer>();
        let certificates = peer.map(Peer::certificates).unwrap_or_default();
        self.callers
            .credential(request.metadata().as_ref(), certificates)
            .map_err(|why| status::of_caller(why, self.callers.bring_vendor_credentials()))
    }

    /// The context of a unary call. Its deadline is its own, or the default one.
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

    /// The context of the first answer of a watch, whose own deadline may be hours away.
    fn opening_context<T>(&self, request: &Request<T>) -> RequestContext {
        let context = self.request_context(request);
        let limit = Instant::now() + self.default_deadline;
        RequestContext { deadline: context.deadline.map(|deadline| deadline.min(limit)), ..context }
    }
}

/// The text of a metadata entry, if the request has one.
fn optional_metadata<'a, T>(
    request: &'a Request<T>,
    name: &str,
) -> Result<Option<&'a str>, Status> {
    let value = request.metadata().get(name);
    status::checked(name, value.map(|value| value.to_str()).transpose())
}
