//! Signals that end the process, or make it read its files again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::INTERRUPTED;

/// Exit status after SIGTERM, as in a shell: 128 + SIGTERM.
const TERMINATED: u8 = 143;

/// A listener for SIGINT (Ctrl-C) and SIGTERM. It misses no signal after its creation.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// A listener for SIGHUP. While it exists, SIGHUP does not end the process.
pub struct Hangups(Signal);

impl Hangups {
    /// Starts to listen.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

impl Signals {
    /// Starts to listen.
    pub fn new() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { interrupt, terminate })
    }

    /// Waits for the next signal. Returns the exit status for it.
    pub async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}
