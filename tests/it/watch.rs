//! `WatchSession`: its rules on paused time, random histories, and tests that need real sockets and
//! processes. Each rule is a test whose name is a sentence.

pub mod body;
pub mod crash;
mod delay;
mod desk;
mod drain;
mod ends;
mod hints;
pub mod ledger;
pub mod life;
mod messages;
mod overview;
pub mod poison;
pub mod random;
mod resume;
mod roster;
mod soak;
mod trouble;
mod truth;
pub mod watcher;
mod wire;
pub mod world;

use std::time::Duration;

use gotoassist_grpc::proto::{
    SessionStatus, StatusTransition, WatchSessionRequest, WatchSessionResponse,
    remote_support_service_client::RemoteSupportServiceClient,
};
use tokio::time::Instant;
use tonic::{Response, Status, Streaming, transport::Channel};

use crate::kit::{request::authorized, soon};

const WAITING: i32 = SessionStatus::Waiting as i32;
const ACTIVE: i32 = SessionStatus::Active as i32;
const COMPLETE: i32 = SessionStatus::Complete as i32;
const NOT_STARTED: i32 = SessionStatus::NotStarted as i32;

fn passed(transitions: &[StatusTransition]) -> Vec<(i32, i32, bool)> {
    transitions.iter().map(|step| (step.from_status, step.to_status, step.inferred)).collect()
}

/// Whole seconds, so that the times of a session's life are easy to read.
pub async fn until(start: Instant, second: u64) {
    tokio::time::sleep_until(start + Duration::from_secs(second)).await;
}

/// Opens a watch with the token `t`.
async fn open_watch(
    channel: &Channel,
    message: WatchSessionRequest,
) -> Result<Streaming<WatchSessionResponse>, Status> {
    let mut client = RemoteSupportServiceClient::new(channel.clone());
    soon(client.watch_session(authorized("t", message))).await.map(Response::into_inner)
}
