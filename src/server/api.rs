//! Which service answers a call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::{body::Body, server::NamedService, service::Routes};
use tonic_reflection::pb::{v1, v1alpha};

use super::{Error, header_check::HeaderCheck};
use crate::{
    grpc::{Service, health::Health},
    proto::{self, serving::remote_support_service_server::RemoteSupportServiceServer},
};

/// Largest message that a caller may send, in bytes: no request comes near it.
const MAX_REQUEST: usize = 64 * 1024;

/// All services, behind the check of the headers. Our own is found without tonic's routes, which clone
/// and box with each call; these serve the rest, and refuse what nobody serves.
#[derive(Clone)]
pub(super) struct Api {
    header_check: HeaderCheck,
    own: RemoteSupportServiceServer<Service>,
    others: Routes,
}

impl Api {
    /// `service`, and the others beside it. Made anew for each thread: every call counts references to
    /// it, and a count that all cores change is slow.
    pub fn new(header_check: HeaderCheck, service: Service, others: Routes) -> Self {
        let own = RemoteSupportServiceServer::new(service).max_decoding_message_size(MAX_REQUEST);
        Self { header_check, own, others }
    }
}

/// Health and reflection.
pub(super) fn others(health: &Health) -> Result<Routes, Error> {
    // Each version lists the other too.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
    };
    Ok(Routes::new(health.service())
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare())
}

impl tower::Service<Request<Body>> for Api {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        Ready<Result<Response<Body>, Infallible>>,
        Either<
            <RemoteSupportServiceServer<Service> as tower::Service<Request<Body>>>::Future,
            <Routes as tower::Service<Request<Body>>>::Future,
        >,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Our own is always ready.
        tower::Service::<Request<Body>>::poll_ready(&mut self.others, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(refusal) = self.header_check.refusal(&request) {
            return Either::Left(ready(Ok(refusal)));
        }
        let service = request.uri().path().trim_start_matches('/').split('/').next();
        Either::Right(if service == Some(RemoteSupportServiceServer::<Service>::NAME) {
            Either::Left(self.own.call(request))
        } else {
            Either::Right(self.others.call(request))
        })
    }
}
