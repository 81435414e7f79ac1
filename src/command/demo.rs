//! `demo`: the simulator, the service and a client in one process.

mod board;
mod callback;
mod fleet;
mod screen;
mod session;
mod walk;

use std::{
    future::pending,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{FAILED, INTERRUPTED, client, output, signal::Signals};
use crate::{
    config::{ConnectionConfig, DemoConfig},
    server::Server,
    simulator::{Control, Simulator},
};
/// The simulator takes any bearer token.
const TOKEN: &str = "demo";
const SYSTEM_DOMAIN: &str = "two.example.com";
const SERVICE: &str = "gotoassist.remotesupport.v1.RemoteSupportService";

/// Starts the parts, runs the demonstration, and stops the parts in order. `Err` is the exit
/// status.
pub async fn run(config: &DemoConfig) -> Result<(), u8> {
    let fail = |error: &dyn std::error::Error| output::fail(FAILED, &output::whole(error));
    let mut signals = Signals::new().map_err(|error| fail(&error))?;
    let simulator = Simulator::bind(&config.simulate()).await.map_err(|error| fail(&error))?;
    if let Some(url) = &config.fleet {
        return tokio::select! {
            shown = fleet::run(simulator, url) => shown,
            _ = signals.next() => Err(INTERRUPTED),
        };
    }
    let secret = callback::Secret::new().map_err(|error| fail(&error))?;
    let serve = config.serve(&simulator.rest_url(), secret.path()).map_err(|error| fail(&error))?;
    let server = Server::bind(serve).await.map_err(|error| fail(&error))?;
    let callback_url = server.callback_addr().map(|address| secret.url(address));
    let callback_url = callback_url.transpose().map_err(|error| fail(&error))?;
    simulator.control().change_settings(|settings| settings.callbacks.url = callback_url);
    let play = Play {
        vendor: simulator.rest_url(),
        service: reachable(server.local_addr().unwrap_or(config.listen)),
        admin: reachable(server.admin_addr().unwrap_or(config.admin_listen)),
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
    // --drain-grace limits the wait.
    while serving.join_next().await.is_some() {}
    played
}

/// The address at which this machine reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The demonstration, and the addresses of its parts.
struct Play {
    vendor: String,
    service: SocketAddr,
    admin: SocketAddr,
    control: Control,
}

impl Play {
    async fn run(&self, is_once: bool) -> Result<(), u8> {
        output::text(
            &"GoToAssist Remote Support over gRPC: vendor, service and client in one process.\n",
        )?;
        screen::pair("vendor, simulated", &self.vendor)?;
        screen::pair("service", self.service)?;
        screen::pair("status page", format_args!("http://{}/", self.admin))?;

        let invalid = |error| output::fail(FAILED, &error);
        let born = session::put(&self.control).map_err(invalid)?;
        let server = format!("http://{}", self.service);
        let client = client(&ConnectionConfig::bearer(server, TOKEN))?;
        walk::run(&client, born).await?;
        board::run(&client, &self.control).await?;
        if is_once {
            return Ok(());
        }
        self.invite()?;
        Err(invalid(session::renew(&self.control).await))
    }

    /// Prints commands to try.
    fn invite(&self) -> Result<(), u8> {
        let (service, session) = (self.service, session::ID);
        let call = |about, method, request| {
            let lines = format!(
                "grpcurl -plaintext -H 'authorization: Bearer {TOKEN}' -d '{request}' \\\n    \
                 {service} {SERVICE}/{method}"
            );
            screen::command(about, &lines)
        };
        screen::head("Try it", "no .proto needed: the service describes itself")?;
        screen::command(
            "the API",
            &format!(
                "grpcurl -plaintext {service} list\n  \
                 grpcurl -plaintext {service} describe {SERVICE}"
            ),
        )?;
        let request = r#"{"session_id": "250040353"}"#.to_owned();
        call("a session with every field", "GetSession", request)?;
        let request = format!(r#"{{"system_domain": "{SYSTEM_DOMAIN}"}}"#);
        call("the links of a domain", "ListSystemLinks", request)?;
        let request = format!(r#"{{"session_id": "{session}"}}"#);
        call("the life of a session, as a stream", "WatchSession", request)?;
        screen::command(
            "the same with the client that resumes by itself",
            &format!("gotoassist-grpc watch {session} --server http://{service} --token {TOKEN}"),
        )?;
        screen::command(
            "all sessions of the account, as a board",
            &format!("gotoassist-grpc watch --all --server http://{service} --token {TOKEN}"),
        )?;
        output::text(&"\nServing until Ctrl-C.")
    }
}
