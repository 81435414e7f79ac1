//! The upstream client against raw TCP: every answer of a vendor, a proxy or a broken connection.

mod breaker;
mod connection;
mod contained;
mod credential;
mod faults;
mod kept_alive;
mod many_failing;
mod metrics;
mod queued;
mod refusals;
mod retries;
mod session_list;
mod sharing;
mod tls;

use gotoassist_grpc::{
    clock::Clock,
    config::UpstreamConfig,
    credential::Credential,
    model::SessionId,
    traffic::{Client, RequestContext},
    wire::{Error, Kind},
};

use crate::kit::stub::{Step, Stub};

/// A client of `stub` with the defaults, except for a quota that is large enough.
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

fn terms() -> RequestContext {
    RequestContext::default()
}

/// The result of a session call without retries.
async fn outcome(steps: Vec<Step>) -> Result<String, Error> {
    let stub = Stub::always(steps).await;
    let client = client_with(&stub, |config| config.retries = 0);
    let answer = client.session(&caller(), &id("1"), terms()).await?;
    Ok(answer.content.session_id.clone())
}

async fn kind(steps: Vec<Step>) -> Kind {
    outcome(steps).await.expect_err("an error").kind
}
