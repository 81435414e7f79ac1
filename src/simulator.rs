//! The vendor, played: its two REST calls, its token endpoint, and everything that can go wrong
//! with them. Knows nothing of the service; docs/simulator.md is its manual.
//!
//! All of its time is tokio's, so that it runs under paused time too.

mod answer;
mod api;
mod builtin;
mod control;
mod counters;
mod credentials;
mod fault;
mod life;
mod play;
mod random;
mod rule;
mod settings;
mod shape;
mod wire;
mod world;

use std::{fs, future::Future, io, net::SocketAddr, path::PathBuf, pin::pin, time::Duration};

use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use jiff::Timestamp;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

pub use api::{BASE_PATH, TOKEN_PATH, router};
pub use control::Control;
pub use counters::{Counters, Seen};
pub use credentials::{BAD_CLIENT, BAD_GRANT, BAD_TOKEN, NO_SEAT_GRANT, NO_SEAT_TOKEN, Standing};
pub use fault::{Fault, RetryAfter};
pub use life::{Fields, InvalidScript, SessionScript, Step};
pub use random::FIRST_ID as FIRST_RANDOM_ID;
pub use rule::{InvalidRule, Route, Rule};
pub use settings::Settings;
pub use world::LinksScript;

use crate::{clock::Clock, config::SimulateConfig};

/// A simulated vendor on a port of its own.
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    address: SocketAddr,
    control: Control,
}

/// Why a simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The file with the sessions cannot be read.
    #[error("cannot read the sessions in {}", .0.display())]
    SessionsFile(PathBuf, #[source] io::Error),
    /// The file with the sessions is no JSON array of scripts.
    #[error("{} is no array of sessions", .0.display())]
    SessionsJson(PathBuf, #[source] serde_json::Error),
    /// A session cannot be played.
    #[error(transparent)]
    Script(#[from] InvalidScript),
    /// A fault is not known.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
}

impl Simulator {
    /// Reads the sessions, then listens. Connections are answered once [`Simulator::run`] runs.
    pub async fn bind(config: &SimulateConfig) -> Result<Self, Error> {
        let control = control(config)?;
        let refused = |source| Error::Listen(config.listen, source);
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, control })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The base URL of the two REST calls.
    pub fn rest_url(&self) -> String {
        format!("http://{}{BASE_PATH}", self.address)
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> String {
        format!("http://{}{TOKEN_PATH}", self.address)
    }

    /// The handle to change it while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Answers until `shutdown` is ready. Then, or when this future is dropped, all connections
    /// are cut.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let router = router(&self.control);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(serve(stream, router.clone()))),
                    // Out of file descriptors, most likely: let some be closed.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
            }
        }
    }
}

/// A simulated vendor without a port, for [`router`].
pub fn control(config: &SimulateConfig) -> Result<Control, Error> {
    let mut sessions = builtin::sessions();
    let scale = config.speed;
    sessions.extend((0..config.random).map(|number| random::session(config.seed, number, scale)));
    if let Some(path) = &config.sessions {
        let text = fs::read(path).map_err(|source| Error::SessionsFile(path.clone(), source))?;
        let scripts: Vec<SessionScript> = serde_json::from_slice(&text)
            .map_err(|source| Error::SessionsJson(path.clone(), source))?;
        sessions.extend(scripts);
    }
    // An environment variable may well be set to nothing.
    let written = config.faults.iter().filter(|text| !text.trim().is_empty());
    let begin = control::Begin {
        settings: Settings::from(config),
        sessions,
        links: builtin::links(),
        rules: written.map(|text| text.parse()).collect::<Result<_, _>>()?,
        seed: config.seed,
    };
    let clock = Clock::anchored(config.clock.unwrap_or_else(Timestamp::now));
    Ok(Control::new(begin, clock)?)
}

/// Serves one connection, HTTP/1 or HTTP/2, as the client begins it.
async fn serve(stream: TcpStream, router: Router) {
    // Without it the last piece of an answer would wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let wire = wire::Wire::new(stream);
    let router = router.layer(Extension(wire.takeover()));
    // An error is the client's leaving, or a fault at work.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(wire), TowerToHyperService::new(router))
        .await;
}
