//! The complete health protocol of gRPC: <https://grpc.io/docs/guides/health-checking/>.
//! tonic-health lacks `List`, and it ends a `Watch` of an unknown service instead of keeping it
//! open.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use async_stream::stream;
use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tonic::{Request, Response, Status};

use super::status;
use crate::proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus,
    health_server::{self, HealthServer},
};

/// The server as a whole: whether clients should send calls to it.
pub const OVERALL: &str = "";
/// This server's main service.
pub const REMOTE_SUPPORT: &str = "gotoassist.remotesupport.v1.RemoteSupportService";
/// The vendor, as this server sees it. [`OVERALL`] does not depend on it, because every other
/// replica uses the same vendor.
pub const UPSTREAM: &str = "upstream";

/// The health of every service. All clones share it.
#[derive(Clone)]
pub struct Health {
    state: Arc<watch::Sender<State>>,
    /// When somebody last asked.
    asked_at: Arc<Mutex<Option<Instant>>>,
}

#[derive(Clone, Default)]
struct State {
    serving: BTreeMap<&'static str, bool>,
    is_draining: bool,
    is_closed: bool,
}

impl State {
    fn status(&self, service: &str) -> Option<ServingStatus> {
        self.serving.get(service).map(|is_serving| {
            let is_serving = *is_serving && !self.is_draining;
            if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing }
        })
    }
}

impl Default for Health {
    fn default() -> Self {
        let serving = [OVERALL, REMOTE_SUPPORT, UPSTREAM].map(|service| (service, false)).into();
        let state = Arc::new(watch::Sender::new(State { serving, ..State::default() }));
        Self { state, asked_at: Arc::default() }
    }
}

impl Health {
    /// Sets whether a service is serving. At first no service is. After [`Self::drain`] no service
    /// is, whatever this method sets.
    pub fn set(&self, service: &'static str, is_serving: bool) {
        self.state.send_if_modified(|state| {
            state.serving.insert(service, is_serving) != Some(is_serving)
        });
    }

    /// Whether the server accepts new calls.
    pub fn is_ready(&self) -> bool {
        self.is_serving(OVERALL)
    }

    /// Whether a service is serving.
    pub fn is_serving(&self, service: &str) -> bool {
        self.state.borrow().status(service) == Some(ServingStatus::Serving)
    }

    /// Notes that somebody asks for the health, here or by another way, such as a load balancer.
    pub fn note_probe(&self) {
        *self.asked_at.lock() = Some(Instant::now());
    }

    /// Whether somebody has asked for the health within this time.
    pub fn was_asked_within(&self, time: Duration) -> bool {
        self.asked_at.lock().is_some_and(|asked_at| asked_at.elapsed() < time)
    }

    /// Makes every service `NOT_SERVING`, so that load balancers and callers use another server.
    pub fn drain(&self) {
        self.state.send_modify(|state| state.is_draining = true);
    }

    /// Drains, and ends every `Watch`, because an open one would delay a graceful shutdown.
    pub fn close(&self) {
        self.state.send_modify(|state| {
            state.is_draining = true;
            state.is_closed = true;
        });
    }

    /// Returns the gRPC health service.
    pub fn service(&self) -> HealthServer<Self> {
        HealthServer::new(self.clone())
    }

    fn statuses(&self, service: String) -> impl Stream<Item = ServingStatus> + Send + use<> {
        let mut changes = self.state.subscribe();
        stream! {
            let mut sent = None;
            loop {
                let (status, is_closed) = {
                    let state = changes.borrow_and_update();
                    let status = state.status(&service);
                    (status.unwrap_or(ServingStatus::ServiceUnknown), state.is_closed)
                };
                if sent.replace(status) != Some(status) {
                    yield status;
                }
                if is_closed || changes.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.note_probe();
        let status = self.state.borrow().status(&request.get_ref().service);
        Ok(Response::new(response(status.ok_or_else(status::unknown_service)?)))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        self.note_probe();
        let state = self.state.borrow();
        let statuses = state
            .serving
            .keys()
            .filter_map(|service| Some(((*service).to_owned(), response(state.status(service)?))));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.note_probe();
        let statuses = self.statuses(request.into_inner().service);
        Ok(Response::new(statuses.map(|status| Ok(response(status))).boxed()))
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("is_ready", &self.is_ready()).finish_non_exhaustive()
    }
}
