//! The admin port: metrics, probes, status page and log level. The server supplies all data, so this
//! module depends on no other part.

pub mod failures;
pub mod history;
pub mod liveness;
pub mod log_level;
pub mod metrics;
mod page;
pub mod port;
pub mod snapshot;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use tokio::{net::TcpListener, time};
use tokio_util::sync::CancellationToken;

use self::{
    history::{History, Sample},
    liveness::Liveness,
    log_level::{LogLevel, Peer},
    metrics::Metrics,
    snapshot::Snapshot,
};
use crate::grpc::health::Health;

/// Time between two bars in the chart of the status page.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// The state behind the admin port. All clones share it.
#[derive(Clone)]
pub struct Admin {
    health: Health,
    liveness: Liveness,
    metrics: Metrics,
    history: History,
    snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    log_level: Option<Arc<dyn LogLevel>>,
}

impl Admin {
    /// `snapshot` returns the state of the service. It is called for each page, and every ten
    /// seconds.
    pub fn new(
        health: Health,
        liveness: Liveness,
        metrics: Metrics,
        snapshot: impl Fn() -> Snapshot + Send + Sync + 'static,
    ) -> Self {
        let snapshot = Arc::new(snapshot);
        let history = History::default();
        Self { health, liveness, metrics, history, snapshot, log_level: None }
    }

    /// Lets the port show and change this level.
    #[must_use]
    pub fn with_log_level(self, log_level: Option<Arc<dyn LogLevel>>) -> Self {
        Self { log_level, ..self }
    }

    /// Serves on `listener` until `stop`, and keeps the metrics and the chart up to date.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let router = self.router();
        let router = |peer| router.clone().layer(Extension(Peer::from(peer)));
        tokio::select! {
            () = port::serve(listener, router, port::LIMITS, stop.cancelled()) => {}
            () = self.keep_up() => {}
        }
    }

    /// `/metrics`, `/livez`, `/readyz`, `/log-level`, and the status page at `/` and as
    /// `/status.json`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(status_page))
            .route("/status.json", get(status_json))
            .route("/metrics", get(render_metrics))
            .route("/livez", get(liveness))
            .route("/readyz", get(readiness))
            .route("/log-level", get(log_level::show).post(log_level::change))
            .with_state(self.clone())
    }

    async fn keep_up(&self) {
        let mut ticks = time::interval(SAMPLE_INTERVAL);
        loop {
            ticks.tick().await;
            self.metrics.keep_up();
            self.history.push(Sample::of(&(self.snapshot)()));
        }
    }
}

/// The process is alive while its worker threads make progress.
async fn liveness(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.liveness.is_stuck() {
        (StatusCode::SERVICE_UNAVAILABLE, "no progress: workers\n")
    } else {
        (StatusCode::OK, "alive\n")
    }
}

/// The replica is ready if it accepts new calls, even if the vendor is down. Without ready
/// replicas, callers would get no answer at all.
async fn readiness(State(admin): State<Admin>) -> impl IntoResponse {
    admin.health.note_probe();
    if admin.health.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn render_metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], admin.metrics.render())
}

async fn status_page(State(admin): State<Admin>) -> impl IntoResponse {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let snapshot = (admin.snapshot)();
    (HEADERS, Html(page::render(&snapshot, &admin.history.rates()).into_string()))
}

async fn status_json(State(admin): State<Admin>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json((admin.snapshot)()))
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}
