//! The thread of the admin port. It is separate from the threads that serve calls, so that it can
//! report when they are stuck.

use std::{io, thread};

use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::admin::Admin;

/// Serves the admin port until the guard is dropped.
pub(super) fn serve(admin: Admin, listener: TcpListener) -> io::Result<DropGuard> {
    let listener = listener.into_std()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = run(&runtime, admin, listener, stop) {
            error!(%error, "the admin port failed");
        }
    })?;
    Ok(guard)
}

fn run(
    runtime: &Runtime,
    admin: Admin,
    listener: std::net::TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        admin.serve(listener, stop).await;
        Ok(())
    })
}
