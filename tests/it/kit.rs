//! Code that the tests share. A test starts the service with [`harness::Harness`] in this process,
//! or with [`process::Serve`] in a separate process. The vendor is [`vendor::Vendor`], which
//! answers as the real one does, or [`stub::Stub`], which sends any bytes. Rules about time are
//! tested with [`server::Server`], which has no sockets.

pub mod browser;
pub mod certificate;
pub mod credential;
pub mod fake_service;
pub mod folder;
pub mod harness;
pub mod peer;
pub mod process;
pub mod project;
pub mod request;
pub mod server;
pub mod stub;
pub mod vendor;

use std::time::Duration;

use tokio::time::timeout;
use tonic::Status;
use tonic_types::StatusExt as _;

/// No successful step takes this long, even on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(1);

/// The result of `future`. The test fails if it takes too long.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it should have happened by now")
}

/// The URL of a port without a listener.
pub fn unused_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The reason of an error, or an empty text.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
