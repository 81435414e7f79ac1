//! Puts the parts together and takes them apart in order. The only place, beside the polls, that
//! starts tasks.

pub mod accept;
pub mod call;
pub mod connection;
pub mod deadline;
pub mod drain;
pub mod listen;
pub mod panic;
pub mod tls;

use std::{fs, future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport};
use tonic_reflection::pb::{v1, v1alpha};

use crate::{
    clock::Clock,
    config::{ServeConfig, listen::ListenAddress, serve::WatchConfig},
    feed::{self, Ask, Feed, Key, Pace},
    grpc::{
        Service,
        health::{self, Health},
        resume_token::Sealer,
        watch::{self, Watches},
    },
    proto::{self, serving::remote_support_service_server::RemoteSupportServiceServer},
    rest,
};
use accept::{Gate, Limits};
use deadline::DeadlineLayer;
use listen::Listener;
use tls::Tls;

/// Largest message that a caller may send, in bytes: no request comes near it.
const MAX_REQUEST: usize = 64 * 1024;
/// How often an idle connection is asked whether its peer is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The service, bound and ready to run.
#[derive(Debug)]
pub struct Server {
    config: ServeConfig,
    listener: Listener,
    tls: Option<Arc<Tls>>,
    service: Service,
    health: Health,
    gate: Gate,
}

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The client for the vendor cannot be set up.
    #[error(transparent)]
    Upstream(#[from] rest::SetUpError),
    /// The descriptors do not fit together, which only a defect of ours can cause.
    #[error("cannot offer reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The gRPC server failed.
    #[error("the gRPC server failed")]
    Transport(#[from] transport::Error),
}

impl Server {
    /// Checks all that can be wrong, and opens the ports. Nothing is served yet.
    pub async fn bind(config: ServeConfig) -> Result<Self, Error> {
        let tls = match (&config.tls.tls_cert, &config.tls.tls_key) {
            (Some(certificate), Some(key)) => {
                let files = tls::Files {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    client_ca: None,
                };
                Some(Arc::new(Tls::load(files).await?))
            }
            _ => None,
        };
        let service = service(&config)?;
        let listener = Listener::bind(&config.listen)
            .await
            .map_err(|source| Error::Listen { address: config.listen.to_string(), source })?;
        let gate = Gate::new(config.limits.max_connections);
        Ok(Self { config, listener, tls, service, health: Health::default(), gate })
    }

    /// Where the gRPC API listens.
    pub fn local_address(&self) -> &ListenAddress {
        self.listener.local_address()
    }

    /// Where the gRPC API listens, if that is a TCP address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self.local_address() {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        }
    }

    /// Serves until `shutdown`, then drains; returns within `--drain-grace` after that.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { config, listener, tls, service, health, gate } = self;
        let mut background = JoinSet::new();
        for name in [health::OVERALL, health::REMOTE_SUPPORT, health::UPSTREAM] {
            health.set(name, true);
        }
        let watches = service.watches.clone();
        background.spawn(async move { watches.cut_stalled().await });
        if let Some(tls) = tls.clone() {
            let interval = config.tls.tls_reload_interval;
            background.spawn(async move { tls.follow(interval).await });
        }

        let limits = Limits { opening: config.limits.opening_limit, life: None };
        let incoming = accept::incoming(listener, tls, limits, gate.clone());
        let watches = service.watches.clone();
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(
            transport::Server::builder()
                .layer(DeadlineLayer)
                .max_concurrent_streams(config.limits.max_streams)
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .add_routes(routes(service, &health)?)
                .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()),
        );
        tokio::select! {
            Some(ended) = serving.join_next() => {
                return ended.unwrap_or(Ok(())).map_err(Error::from);
            }
            () = shutdown => {}
        }
        let parts = drain::Parts { health: &health, watches: &watches, gate: &gate, stop: &stop };
        drain::drain(parts, &config.limits, &mut serving).await;
        Ok(())
    }
}

fn routes(service: Service, health: &Health) -> Result<Routes, Error> {
    // Each version lists the other too.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
    };
    let service = RemoteSupportServiceServer::new(service).max_decoding_message_size(MAX_REQUEST);
    Ok(Routes::new(service)
        .add_service(health.service())
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

fn service(config: &ServeConfig) -> Result<Service, Error> {
    let clock = Clock::system();
    let client = rest::Client::new(&config.upstream, None, clock)?;
    let asked = client.clone();
    let read = move |Key { credential, session }: Key, ask: Ask| {
        let client = asked.clone();
        async move {
            match ask {
                Ask::First(terms) => client.session(&credential, &session, terms).await,
                Ask::Next(urgency) => client.poll_session(&credential, &session, urgency).await,
            }
        }
    };
    let watches = Watches::new(watch::Settings {
        max_age: config.watch.max_stream_age,
        stall_limit: config.watch.slow_watcher_limit,
        confirm_after: config.watch.confirm_after,
        max_watches: config.limits.max_watches,
    });
    let key = resume_key(&config.watch)?;
    let sealer = Arc::new(Sealer::new(key.as_ref().map(ExposeSecret::expose_secret)));
    let feed = Feed::new(read, feed_settings(&config.watch), clock);
    Ok(Service { client, feed, watches, sealer, clock, call_limit: config.limits.call_limit })
}

fn feed_settings(config: &WatchConfig) -> feed::Settings {
    feed::Settings {
        pace: Pace {
            not_started: config.poll_not_started,
            waiting: config.poll_waiting,
            active: config.poll_active,
            ended: config.poll_ended,
        },
        confirm_after: config.confirm_after,
        stale_after: config.stale_after,
        outage_limit: config.outage_limit,
        linger: config.poll_linger,
    }
}

fn resume_key(config: &WatchConfig) -> Result<Option<SecretString>, Error> {
    let Some(path) = &config.resume_key_file else { return Ok(config.resume_key.clone()) };
    let key =
        fs::read_to_string(path).map_err(|source| Error::Read { path: path.clone(), source })?;
    Ok(Some(key.trim_end().into()))
}
