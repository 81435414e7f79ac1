//! `WatchSessions`: many sessions on one stream, on paused time and over sockets. Each rule is a
//! test whose name is a sentence.

mod adding;
mod all;
mod cost;
mod crash;
pub mod desk;
mod ends;
pub mod follower;
mod heartbeats;
mod limits;
mod messages;
mod removing;
mod stall;
mod wire;

use gotoassist_grpc::proto::{
    WatchSessionRequest, WatchSessionResponse, watch_session_response::EventType,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::kit::{reason, request};

/// A watch of this session that goes on after this token.
fn resumed(session: &str, token: &str) -> WatchSessionRequest {
    WatchSessionRequest { resume_token: token.to_owned(), ..request::watch(session) }
}

/// What a status tells a client, without the jitter of its delays.
fn told(status: &Status) -> (Code, String, String, Option<String>, Option<String>) {
    let resource = status.get_details_resource_info().map(|info| info.resource_name);
    let field = status.get_details_bad_request().map(|bad| format!("{:?}", bad.field_violations));
    (status.code(), reason(status), status.message().to_owned(), resource, field)
}

/// The types of these updates.
fn types(updates: &[WatchSessionResponse]) -> Vec<EventType> {
    updates.iter().map(WatchSessionResponse::event_type).collect()
}
