//! `/log-level` shows the level of the log, and changes it. Whoever changes it could silence the log,
//! so only programs on this machine may.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};

use super::Admin;

/// The log whose level can be changed.
pub trait LogLevel: fmt::Debug + Send + Sync {
    /// The level that the configuration sets.
    fn configured(&self) -> String;
    /// The level now.
    fn current(&self) -> String;
    /// Changes the level. The error says what levels there are.
    fn set(&self, level: &str) -> Result<(), String>;
}

/// The program that sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    is_local: bool,
}

/// Header fields of a request that a web page makes, or that a proxy passes on. Such a request comes
/// from this machine, but not from somebody who is logged in to it.
const INDIRECT: [&str; 7] = [
    "origin",
    "sec-fetch-site",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "l5d-client-id",
];

/// The longest level, in bytes.
const MAX_LENGTH: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Change {
    level: String,
}

#[derive(Serialize)]
struct Levels {
    level: String,
    configured: String,
}

impl From<SocketAddr> for Peer {
    /// Only the two usual addresses count: Istio's sidecar passes requests on from 127.0.0.6.
    fn from(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        let is_local = ip == Ipv4Addr::LOCALHOST || ip == IpAddr::from(Ipv6Addr::LOCALHOST);
        Self { is_local }
    }
}

/// Answers GET.
pub(super) async fn show(State(admin): State<Admin>) -> Response {
    match &admin.log_level {
        Some(log) => levels(&**log),
        None => no_log(),
    }
}

/// Answers POST.
pub(super) async fn change(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    change: Result<Query<Change>, QueryRejection>,
) -> Response {
    let is_local = peer.is_some_and(|Extension(peer)| peer.is_local);
    if !is_local || INDIRECT.iter().any(|name| headers.contains_key(*name)) {
        let text = "the log level can be changed from this machine only, without a proxy\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let Some(log) = &admin.log_level else { return no_log() };
    let set = match change {
        Ok(Query(Change { level })) if level.len() <= MAX_LENGTH => log.set(&level),
        Ok(_) => Err("the level is too long".to_owned()),
        Err(_) => Err("say which level: /log-level?level=debug".to_owned()),
    };
    match set {
        Ok(()) => levels(&**log),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}

fn levels(log: &dyn LogLevel) -> Response {
    let levels = Levels { level: log.current(), configured: log.configured() };
    ([(header::CACHE_CONTROL, "no-store")], Json(levels)).into_response()
}

fn no_log() -> Response {
    (StatusCode::NOT_IMPLEMENTED, "this process has no log\n").into_response()
}
