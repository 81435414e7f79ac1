//! Builds, runs and drains the server.

pub mod accept;
mod admin_thread;
mod api;
pub mod call;
pub mod causes;
mod connection;
mod descriptors;
mod drain;
pub mod gate;
mod header_check;
mod http1;
pub mod http2;
pub mod listen;
mod metric;
mod overview;
mod refusal;
pub mod reload;
mod request_body;
mod resets;
mod setup;
pub mod tls;

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    admin::{Admin, failures::Failures, liveness::Liveness, log_level::LogLevel, metrics::Metrics},
    callback::{Callbacks, SecretsError},
    config::{ServeConfig, listen::ListenAddress},
    fleet,
    grpc::{
        Service,
        caller::TokensError,
        health::{self, Health},
    },
    trace::{self, Tracer},
    wire,
};
use accept::Acceptor;
use call::{CallSettings, Calls};
use gate::Gate;
use header_check::HeaderCheck;
use listen::Listener;
use overview::Overview;
use reload::Reload;
use tls::Tls;

/// The server, bound and ready to run.
#[derive(Debug)]
pub struct Server {
    config: ServeConfig,
    listener: Listener,
    admin: TcpListener,
    callback: Option<(TcpListener, Callbacks)>,
    metrics: Metrics,
    tls: Option<Arc<Tls>>,
    service: Service,
    health: Health,
    gate: Gate,
    tracer: Tracer,
    reload: Reload,
    log_level: Option<Arc<dyn LogLevel>>,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is invalid. The text lists all problems.
    #[error("{0}")]
    Config(String),
    /// The callers' tokens cannot be used.
    #[error(transparent)]
    CallerTokens(#[from] TokensError),
    /// The secrets of callbacks cannot be used.
    #[error(transparent)]
    CallbackSecrets(#[from] SecretsError),
    /// The metrics cannot be set up. This is a bug.
    #[error("cannot set up the metrics")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// The server cannot listen on an address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The client for the vendor cannot be set up.
    #[error(transparent)]
    Upstream(#[from] wire::SetUpError),
    /// The fleet cannot be joined.
    #[error(transparent)]
    Fleet(#[from] fleet::SetUpError),
    /// The exporter of traces cannot be set up.
    #[error(transparent)]
    Trace(#[from] trace::Error),
    /// The descriptors are inconsistent. This is a bug.
    #[error("cannot offer reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The thread of the admin port cannot be started.
    #[error("cannot start the thread of the admin port")]
    AdminThread(#[source] io::Error),
    /// The gRPC server ended by itself. This is a bug.
    #[error("the gRPC server ended")]
    Ended,
}

impl Server {
    /// Returns everything for which [`Server::bind`] would refuse the configuration, except for the
    /// ports: invalid values, and files that cannot be used. Opens no port and sends no request.
    pub async fn problems(config: &ServeConfig) -> Vec<Error> {
        setup::problems(config).await
    }

    /// Returns the restrictions and dangers of a valid configuration, each in a sentence.
    pub fn warnings(config: &ServeConfig) -> Vec<String> {
        let (wanted, possible) =
            (config.limits.max_connections, descriptors::max_connections(config));
        let few = format!(
            "The limit on file descriptors leaves room for {possible} connections; \
             --max-connections is {wanted}."
        );
        let few = (possible < wanted).then_some(few);
        config.warnings().into_iter().chain(few).collect()
    }

    /// Checks the configuration and opens the ports. Does not serve yet.
    pub async fn bind(config: ServeConfig) -> Result<Self, Error> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(Error::Config(problems.join(" ")));
        }
        let metrics = Metrics::install()?;
        metric::describe();
        let tracer = Tracer::new(&config.trace)?;
        let tls = setup::tls(&config).await?;
        let service = setup::service(&config)?;
        let callbacks = setup::callbacks(&config, &service)?;
        let listener = Listener::bind(&config.listen)
            .await
            .map_err(|source| Error::Listen { address: config.listen.to_string(), source })?;
        let admin = bind(config.admin_listen).await?;
        let callback = match config.callback.endpoint().zip(callbacks) {
            Some(((address, _), callbacks)) => Some((bind(address).await?, callbacks)),
            None => None,
        };
        for warning in Self::warnings(&config) {
            warn!(warning, "serving with a warning");
        }
        Ok(Self {
            gate: Gate::new(descriptors::max_connections(&config)),
            config,
            listener,
            admin,
            callback,
            metrics,
            tls,
            service,
            health: Health::default(),
            tracer,
            reload: Reload::default(),
            log_level: None,
        })
    }

    /// Returns the address of the gRPC API.
    pub fn local_address(&self) -> &ListenAddress {
        self.listener.local_address()
    }

    /// Returns the address of the gRPC API, if it is a TCP address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self.local_address() {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        }
    }

    /// Returns the address of the admin port.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.local_addr().ok()
    }

    /// Returns the address of the endpoint for callbacks, if there is one.
    pub fn callback_addr(&self) -> Option<SocketAddr> {
        self.callback.as_ref()?.0.local_addr().ok()
    }

    /// Returns a handle that makes the running server reload its files.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Lets the admin port show and change the level of the process's log.
    #[must_use]
    pub fn with_log_level(self, log_level: Arc<dyn LogLevel>) -> Self {
        Self { log_level: Some(log_level), ..self }
    }

    /// Serves until `shutdown` completes, then drains. Returns within `--drain-grace` after that.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { config, listener, admin, callback, metrics, tls, service, .. } = self;
        let Self { health, gate, tracer, reload, log_level, .. } = self;
        for name in [health::OVERALL, health::REMOTE_SUPPORT, health::UPSTREAM] {
            health.set(name, true);
        }
        let failures = Failures::default();
        let stop = CancellationToken::new();
        let header_check = HeaderCheck::new(config.limits.max_header_list);
        let calls = Calls::new(
            api::service(service.clone(), &health, header_check)?,
            CallSettings {
                log_ok_calls: config.telemetry.log_ok_calls,
                default_deadline: config.limits.default_deadline,
                failures: failures.clone(),
                tracer: tracer.clone(),
                drain: stop.clone(),
            },
        );
        let http2 = http2::Settings {
            max_streams: config.limits.max_streams,
            max_header_list: header_check::http2_limit(config.limits.max_header_list),
            max_age: Some(config.limits.max_connection_age),
            // Longer than the lifetime of any watch.
            age_grace: config.watch.max_stream_age.mul_f64(1.2) + config.limits.default_deadline,
        };

        let watches = service.watches.clone();
        let overview = Overview {
            service: service.clone(),
            health: health.clone(),
            gate: gate.clone(),
            failures: failures.clone(),
            callbacks: callback.as_ref().map(|(_, callbacks)| callbacks.clone()),
            started_at: Instant::now(),
        };
        let liveness = Liveness::default();
        let page = Admin::new(health.clone(), liveness.clone(), metrics, {
            let overview = overview.clone();
            move || overview.snapshot()
        })
        .with_log_level(log_level);
        let _admin = admin_thread::serve(page, admin).map_err(Error::AdminThread)?;
        // The background tasks end when this set is dropped.
        let mut background = JoinSet::new();
        background.spawn(liveness.expect().keep());
        background.spawn({
            let watches = watches.clone();
            async move { watches.cut_slow_consumers().await }
        });
        background.spawn(async move { overview.follow().await });
        let (callers, client) = (service.callers.clone(), service.client.clone());
        background.spawn({
            let asked = reload.asked();
            async move { reload::follow(asked, callers, client).await }
        });
        if let Some((_, callbacks)) = &callback {
            let (callbacks, asked) = (callbacks.clone(), reload.asked());
            background.spawn(async move { reload::follow_callbacks(asked, callbacks).await });
        }
        if let Some(tls) = tls.clone() {
            let (interval, asked) = (config.tls.tls_reload_interval, reload.asked());
            background.spawn(async move { tls.follow(interval, asked).await });
        }

        let acceptor = Acceptor {
            tls,
            handshake_timeout: config.limits.handshake_timeout,
            gate: gate.clone(),
            http2,
            calls,
            stop: stop.clone(),
        };
        let mut serving = JoinSet::new();
        serving.spawn(acceptor.serve(listener));
        if let Some((listener, callbacks)) = callback {
            serving.spawn(callbacks.serve(listener, stop.clone()));
        }
        tokio::select! {
            // They end only because of a bug.
            Some(_) = serving.join_next() => return Err(Error::Ended),
            () = shutdown => {}
        }
        let parts = drain::Parts {
            health: &health,
            watches: &watches,
            gate: &gate,
            stop: &stop,
            takes_callbacks: config.callback.endpoint().is_some(),
            fleet: service.client.quota().fleet(),
        };
        drain::drain(parts, &config.limits, tracer, &mut serving).await;
        Ok(())
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| Error::Listen { address: address.to_string(), source })
}
