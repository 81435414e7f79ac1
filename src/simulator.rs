//! The simulator plays the vendor: its REST calls, its login, its token endpoint, its status
//! callbacks, and the faults of them all. It does not depend on the service. Its manual is docs/simulator.md.
//!
//! `api` receives a request. `world` finds the right answer with the help of `life` and `body`, and
//! also the fault that a `rule` asks for. `play` applies the fault to the answer and sends it.
//!
//! All times come from tokio's clock, so that a test can pause them.

mod answer;
mod api;
mod body;
mod builtin;
mod callback;
mod chance;
mod control;
mod control_api;
mod counters;
mod credentials;
mod fault;
mod life;
mod list;
mod play;
mod random;
mod rule;
mod sign_in;
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

pub use api::{AUTHORIZE_PATH, BASE_PATH, TOKEN_PATH, router};
pub use control::Control;
pub use counters::{Counters, Seen};
pub use credentials::{BAD_CLIENT, BAD_GRANT, BAD_TOKEN, NO_SEAT_GRANT, NO_SEAT_TOKEN, Standing};
pub use fault::{Fault, RetryAfter};
pub use life::{Fields, InvalidScript, SessionScript, Step};
pub use random::FIRST_ID as FIRST_RANDOM_ID;
pub use rule::{InvalidRule, Route, Rule};
pub use world::LinksScript;

pub use crate::config::simulate::Settings;
use builtin::Builtin;
use world::Start;

use crate::{clock::Clock, config::SimulateConfig};

/// A simulator that listens on a port.
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    address: SocketAddr,
    control: Control,
}

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The file with the sessions cannot be read.
    #[error("cannot read the sessions in {}", .0.display())]
    SessionsFile(PathBuf, #[source] io::Error),
    /// The file with the sessions is not a JSON array of scripts.
    #[error("{} is not an array of sessions", .0.display())]
    SessionsJson(PathBuf, #[source] serde_json::Error),
    /// A session cannot be played.
    #[error(transparent)]
    Script(#[from] InvalidScript),
    /// A fault is unknown.
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

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The base URL of the REST calls.
    pub fn rest_url(&self) -> String {
        format!("http://{}{BASE_PATH}", self.address)
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> String {
        format!("http://{}{TOKEN_PATH}", self.address)
    }

    /// The URL of the page where a person signs in.
    pub fn authorize_url(&self) -> String {
        format!("http://{}{AUTHORIZE_PATH}", self.address)
    }

    /// The handle that changes the simulator while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Answers requests and sends callbacks until `shutdown` is ready. Then it closes all
    /// connections. Dropping this future closes them too.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let router = router(&self.control);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut calling_back = pin!(callback::send_all(self.control.clone()));
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                never = &mut calling_back => match never {},
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(serve(stream, router.clone()))),
                    // Most likely all file descriptors are in use. Some may be closed soon.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
            }
        }
    }
}

/// Creates a simulator without a port. [`router`] answers its requests.
pub fn control(config: &SimulateConfig) -> Result<Control, Error> {
    let Builtin { mut sessions, links } =
        builtin::builtin().map_err(|source| Error::SessionsJson("builtin.json".into(), source))?;
    let random = |number| random::session(config.seed, number, config.speed);
    sessions.extend((0..config.random).map(random));
    if let Some(path) = &config.sessions {
        let text = fs::read(path).map_err(|source| Error::SessionsFile(path.clone(), source))?;
        let scripts: Vec<_> = serde_json::from_slice(&text)
            .map_err(|source| Error::SessionsJson(path.clone(), source))?;
        sessions.extend(scripts);
    }
    // The environment variable may be empty.
    let faults = config.faults.iter().filter(|text| !text.trim().is_empty());
    let rules = faults.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let settings = config.settings.clone();
    let start = Start { settings, sessions, links, rules, seed: config.seed };
    let clock = Clock::anchored(config.clock.unwrap_or_else(Timestamp::now));
    Ok(Control::new(start, clock)?)
}

/// Serves one connection. The first bytes of the client decide between HTTP/1 and HTTP/2.
async fn serve(stream: TcpStream, router: Router) {
    // With Nagle's algorithm, the last piece of an answer would wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let wire = wire::Wire::new(stream);
    let router = router.layer(Extension(wire.clone()));
    // An error means that the client has gone, or that a fault was played.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(wire), TowerToHyperService::new(router))
        .await;
}
