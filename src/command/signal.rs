//! How a person or a supervisor asks the process to end, or to look at its files again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::INTERRUPTED;

/// Ended with SIGTERM, as a shell tells it: 128 + SIGTERM.
const TERMINATED: u8 = 143;

/// SIGINT (Ctrl-C) and SIGTERM, from the time this was made: none is missed in between.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// SIGHUP, from the time this was made. It no longer ends the process.
pub struct Hangups(Signal);

impl Hangups {
    /// Listens.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// The next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

impl Signals {
    /// Listens.
    pub fn new() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { interrupt, terminate })
    }

    /// The next one; gives the exit status of a process that ends by it.
    pub async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}
