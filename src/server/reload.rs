//! Reloads files when the operator asks for it, instead of at the next interval.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use crate::{grpc::caller::Callers, traffic};

/// A handle that requests a reload. All clones are equivalent.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    asked: watch::Sender<()>,
}

/// Receives the requests. No request is missed, but several at once count as one.
pub type Asked = watch::Receiver<()>;

impl Reload {
    /// Requests a check of every file that the service reads while it runs.
    pub fn ask(&self) {
        self.asked.send_replace(());
    }

    /// Returns a receiver for requests from now on.
    pub fn asked(&self) -> Asked {
        self.asked.subscribe()
    }
}

/// How often the file of the callers' tokens is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Checks the file of the callers' tokens every second. On request, it also reads the service's own
/// secrets again if the vendor's access token cannot be refreshed. Runs until it is dropped.
/// `tls.rs` reloads the certificates.
pub(super) async fn follow(mut asked: Asked, callers: Arc<Callers>, client: traffic::Client) {
    loop {
        let is_asked = tokio::select! {
            () = sleep(INTERVAL) => false,
            Ok(()) = asked.changed() => true,
        };
        let (callers, client) = (callers.clone(), client.clone());
        let look = move || {
            callers.reload();
            if is_asked {
                client.check_for_new_secret();
            }
        };
        // A file system may be slow, so this must not block other tasks.
        let _ = spawn_blocking(look).await;
    }
}
