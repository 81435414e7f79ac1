//! The services of the gRPC port, behind the check of the headers.

use std::convert::Infallible;

use http::{Request, Response};
use tonic::{body::Body, service::Routes};
use tonic_reflection::pb::{v1, v1alpha};
use tower::{Service, ServiceExt as _, service_fn};

use super::{Error, header_check::HeaderCheck, refusal};
use crate::{
    grpc::{self, health::Health},
    proto::{self, serving::remote_support_service_server::RemoteSupportServiceServer},
};

/// The largest request message, in bytes. Real requests are much smaller.
const MAX_REQUEST: usize = 64 * 1024;

/// Combines `service`, health and reflection behind the check of the headers.
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
    let own = RemoteSupportServiceServer::new(service).max_decoding_message_size(MAX_REQUEST);
    // Each version of reflection also lists the other one.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
    };
    let routes = Routes::new(own)
        .add_service(health.service())
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    Ok(service_fn(move |request: Request<Body>| {
        let answer = match header_check.refusal(&request) {
            Some(refusal) => Err(refusal),
            None => Ok(routes.clone().oneshot(request)),
        };
        async move {
            match answer {
                Ok(answer) => answer.await.map(refusal::with_details),
                Err(refusal) => Ok(refusal),
            }
        }
    }))
}
