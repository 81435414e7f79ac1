//! The services of the gRPC port, behind the check of the headers.

use std::{convert::Infallible, future::ready};

use futures_util::{TryFutureExt as _, future::Either};
use http::{Request, Response};
use tonic::{body::Body, server::NamedService as _, service::Routes};
use tonic_reflection::pb::{v1, v1alpha};
use tower::{Service, ServiceExt as _, service_fn};

use super::{Error, header_check::HeaderCheck, refusal};
use crate::{
    grpc::{self, health::Health},
    proto::{self, serving::remote_support_service_server::RemoteSupportServiceServer},
};

/// The largest request message, in bytes. Real requests are much smaller.
const MAX_REQUEST: usize = 64 * 1024;

/// The largest message of a client on a stream of many sessions, in bytes: ten thousand sessions
/// with their resume tokens. It is also the default of other gRPC servers.
const MAX_ADD: usize = 4 * 1024 * 1024;

const WATCH_SESSIONS: &str = "/gotoassist.remotesupport.v1.RemoteSupportService/WatchSessions";

/// Combines `service`, health and reflection behind the check of the headers. Calls of `service`
/// do not go through [`Routes`], which would box each of them three times.
pub(super) fn service(
    service: grpc::Service,
    health: &Health,
    header_check: HeaderCheck,
) -> Result<
    impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static,
    Error,
> {
    let own = RemoteSupportServiceServer::new(service);
    let streams = own.clone().max_decoding_message_size(MAX_ADD);
    let own = own.max_decoding_message_size(MAX_REQUEST);
    // Each version of reflection also lists the other one.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
    };
    let others = Routes::new(health.service())
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    Ok(service_fn(move |request: Request<Body>| {
        if let Some(refusal) = header_check.refusal(&request) {
            return Either::Left(ready(Ok(refusal)));
        }
        let path = request.uri().path();
        let service = path.trim_start_matches('/').split('/').next();
        let answer = if path == WATCH_SESSIONS {
            Either::Left(streams.clone().oneshot(request))
        } else if service == Some(RemoteSupportServiceServer::<grpc::Service>::NAME) {
            Either::Left(own.clone().oneshot(request))
        } else {
            Either::Right(others.clone().oneshot(request))
        };
        Either::Right(answer.map_ok(refusal::with_details))
    }))
}
