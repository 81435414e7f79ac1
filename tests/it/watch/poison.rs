//! Trouble that other watchers must not notice: a session that always fails, and a credential that
//! is refused.

use std::time::Duration;

use fastrand::Rng;
use gotoassist_grpc::wire::Kind;
use tokio::time::sleep;

use super::{
    random::Servers,
    world::{Trick, body},
};
use crate::kit::request;

/// The session that always fails, and its refused credential.
pub const POISON: &str = "poison";

/// The vendor's answers for this session and this credential.
pub fn trick(rng: &mut Rng, credential: &str) -> Trick {
    if credential.ends_with(POISON) {
        return Trick::Fail(Kind::CredentialRejected);
    }
    let kinds = [Kind::Unavailable, Kind::Internal, Kind::Timeout, Kind::NotFound, Kind::Malformed];
    match rng.u8(0..4) {
        0 => Trick::Body(body::nothing),
        1 => Trick::Slow(Duration::from_secs(rng.u64(1..30))),
        _ => Trick::Fail(*rng.choice(&kinds).unwrap()),
    }
}

/// Watches the failing session again and again.
pub async fn suffer(mut rng: Rng, servers: Servers) {
    loop {
        let server = rng.choice(&*servers.lock().unwrap()).unwrap().clone();
        let credential = if rng.bool() { "owner" } else { POISON };
        if let Ok(mut watcher) = server.watch_as(credential, request::watch(POISON)).await {
            watcher.rest().await;
        }
        sleep(Duration::from_millis(rng.u64(500..3000))).await;
    }
}
