//! Looking at files at once instead of when it is time for it, because the operator asks for it.

use std::{convert::Infallible, future::pending, sync::Arc};

use tokio::{sync::watch, task::spawn_blocking};

use crate::{grpc::caller::Callers, traffic};

/// Asks for it. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    asked: watch::Sender<()>,
}

/// Learns that it was asked for; none is missed, several at once are one.
pub type Asked = watch::Receiver<()>;

impl Reload {
    /// Has every file looked at that the service reads while it runs.
    pub fn ask(&self) {
        self.asked.send_replace(());
    }

    /// Learns of it from now on.
    pub fn asked(&self) -> Asked {
        self.asked.subscribe()
    }
}

/// Looks at the callers' tokens and, if the vendor's access token cannot be refreshed, at the service's
/// own secrets whenever it is asked for. Certificates are looked at in `tls.rs`.
pub(super) async fn follow(
    mut asked: Asked,
    callers: Arc<Callers>,
    client: traffic::Client,
) -> Infallible {
    while asked.changed().await.is_ok() {
        let (callers, client) = (callers.clone(), client.clone());
        // A file system may not answer for long.
        let look = move || {
            callers.look_again();
            client.look_for_secret();
        };
        let _ = spawn_blocking(look).await;
    }
    pending().await
}
