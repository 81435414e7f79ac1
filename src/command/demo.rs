//! `demo`: simulator and service in one process, and a client that shows what they do.

mod screen;
mod session;
mod walk;

use std::{
    future::pending,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{FAILED, INTERRUPTED, output, signal::Signals};
use crate::{
    client::Client,
    config::{ConnectionConfig, DemoConfig},
    server::Server,
    simulator::{Control, Simulator},
};
use screen::Screen;
use walk::Walk;

/// The simulator takes any bearer token.
const TOKEN: &str = "demo";
const SYSTEM_DOMAIN: &str = "two.example.com";
const SERVICE: &str = "gotoassist.remotesupport.v1.RemoteSupportService";

/// Shows it all; gives the exit status.
pub async fn run(config: &DemoConfig) -> u8 {
    match stage(config).await {
        Ok(()) => 0,
        Err(status) => status,
    }
}

/// Starts the parts, plays, and takes the parts down in order.
async fn stage(config: &DemoConfig) -> Result<(), u8> {
    let fail = |error: &dyn std::error::Error| output::fail(FAILED, &output::whole(error));
    let mut signals = Signals::new().map_err(|error| fail(&error))?;
    let simulator = Simulator::bind(&config.simulate()).await.map_err(|error| fail(&error))?;
    let serve = config.serve(&simulator.rest_url()).map_err(|error| fail(&error))?;
    let server = Server::bind(serve).await.map_err(|error| fail(&error))?;
    let play = Play {
        vendor: simulator.rest_url(),
        service: reachable(server.local_addr().unwrap_or(config.listen)),
        control: simulator.control(),
    };

    let stop = CancellationToken::new();
    let mut simulating = JoinSet::new();
    simulating.spawn(simulator.run(pending()));
    let mut serving = JoinSet::new();
    serving.spawn(server.run(stop.clone().cancelled_owned()));
    let played = tokio::select! {
        played = play.run(config.once) => played,
        Some(Ok(Err(error))) = serving.join_next() => Err(fail(&error)),
        _ = signals.next() => if config.once { Err(INTERRUPTED) } else { Ok(()) },
    };
    stop.cancel();
    // Has its own limit: --drain-grace.
    while serving.join_next().await.is_some() {}
    played
}

/// The address by which this machine reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What is shown, and where.
struct Play {
    vendor: String,
    service: SocketAddr,
    control: Control,
}

impl Play {
    async fn run(&self, is_once: bool) -> Result<(), u8> {
        let mut screen = Screen::new();
        screen.line(
            "GoToAssist Remote Support over gRPC: vendor, service and client in one process.",
        )?;
        screen.space()?;
        screen.pair("vendor, simulated", &self.vendor)?;
        screen.pair("service", self.service)?;

        let invalid = |error| output::fail(FAILED, &error);
        session::put(&self.control).map_err(invalid)?;
        let walk = Walk {
            session_id: session::ID,
            system_domain: SYSTEM_DOMAIN,
            follow_after_end: session::AFTER_END,
        };
        walk.run(&self.client()?, &mut screen).await?;
        if is_once {
            return Ok(());
        }
        self.invite(&mut screen)?;
        Err(invalid(session::renew(&self.control).await))
    }

    fn client(&self) -> Result<Client, u8> {
        let config = ConnectionConfig::bearer(format!("http://{}", self.service), TOKEN);
        Client::connect(&config).map_err(|error| output::fail(FAILED, &error))
    }

    /// The commands to try.
    fn invite(&self, screen: &mut Screen) -> Result<(), u8> {
        let service = self.service;
        let call = |method: &str, request: &str| {
            [
                format!("grpcurl -plaintext -H 'authorization: Bearer {TOKEN}' -d '{request}' \\"),
                format!("  {service} {SERVICE}/{method}"),
            ]
        };
        screen.head("Try it", "no .proto needed: the service describes itself")?;
        screen.command(
            "what is there",
            &[
                format!("grpcurl -plaintext {service} list"),
                format!("grpcurl -plaintext {service} describe {SERVICE}"),
            ],
        )?;
        screen.command(
            "a session with every field",
            &call("GetSession", r#"{"session_id": "250040353"}"#),
        )?;
        screen.command(
            "the links of a domain",
            &call("ListSystemLinks", &format!(r#"{{"system_domain": "{SYSTEM_DOMAIN}"}}"#)),
        )?;
        screen.command(
            "a life, streaming by",
            &call("WatchSession", &format!(r#"{{"session_id": "{}"}}"#, session::ID)),
        )?;
        screen.command(
            "the same with the client that resumes by itself",
            &[format!(
                "gotoassist-grpc watch {} --server http://{service} --token {TOKEN}",
                session::ID
            )],
        )?;
        screen.space()?;
        screen.line(screen::aside("Serving until Ctrl-C."))
    }
}
