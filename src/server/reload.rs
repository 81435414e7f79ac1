//! Looking at files at once instead of when it is time for it, because the operator asks for it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking, time::sleep};

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

/// How often the file with the callers' tokens is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks at the callers' tokens every second, and when it is asked for at the service's own secrets too,
/// if the vendor's access token cannot be refreshed. Runs until dropped. Certificates are looked at in
/// `tls.rs`.
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
                client.look_for_secret();
            }
        };
        // A file system may not answer for long; then nothing waits for it but this.
        let _ = spawn_blocking(look).await;
    }
}
