//! Reloads files when the operator asks for it, instead of at the next interval.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use crate::{callback::Callbacks, grpc::caller::Callers, traffic};

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

/// How often the files of the callers' tokens and of the callbacks' secrets are checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Checks the file of the callers' tokens every second. On request, it also reads the service's own
/// secrets again if the vendor's access token cannot be refreshed. Runs until it is dropped.
/// `tls.rs` reloads the certificates.
pub(super) async fn follow(asked: Asked, callers: Arc<Callers>, client: traffic::Client) {
    follow_files(asked, move |is_asked| {
        callers.reload();
        if is_asked {
            client.check_for_new_secret();
        }
    })
    .await;
}

/// Checks the file of the callbacks' secrets every second, and on request. Runs until it is dropped.
/// A file that cannot be read to its end holds up only its own task.
pub(super) async fn follow_callbacks(asked: Asked, callbacks: Callbacks) {
    follow_files(asked, move |_| callbacks.reload()).await;
}

/// Calls `look` every second, and on request. A file system may be slow, so `look` may block.
async fn follow_files(mut asked: Asked, look: impl Fn(bool) + Send + Sync + 'static) {
    let look = Arc::new(look);
    loop {
        let is_asked = tokio::select! {
            () = sleep(INTERVAL) => false,
            Ok(()) = asked.changed() => true,
        };
        let look = look.clone();
        let _ = spawn_blocking(move || look(is_asked)).await;
    }
}
