//! The south face against raw TCP: every answer a vendor, a proxy or a broken line can give.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod breaker;
mod credential;
mod faults;
mod retries;
mod sharing;
mod stub;
mod tls;

use gotoassist_grpc::{
    clock::Clock,
    config::UpstreamConfig,
    model::SessionId,
    rest::{Client, Credential, Terms},
};

use stub::Stub;

/// A client of `stub` with the defaults, but for a quota that no test waits for.
fn client(stub: &Stub) -> Client {
    client_with(stub, |_| {})
}

fn client_with(stub: &Stub, change: impl FnOnce(&mut UpstreamConfig)) -> Client {
    let mut config = UpstreamConfig::at(stub.url());
    config.rps = 1e6;
    config.burst = 1_000_000;
    change(&mut config);
    Client::new(&config, None, Clock::system()).unwrap()
}

fn caller() -> Credential {
    Credential::from_authorization("Bearer caller-token").unwrap()
}

fn id(text: &str) -> SessionId {
    text.parse().unwrap()
}

fn terms() -> Terms {
    Terms::default()
}
