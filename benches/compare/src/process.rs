//! Starts a process, and measures its CPU time and memory.

use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use procfs::process::Process as Stat;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::sleep,
};

/// Longest time until a program listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that runs until this is dropped.
pub struct Process {
    child: Child,
    stat: Stat,
}

impl Process {
    /// Starts a program with its output in `log`, and waits until it listens on `address`.
    pub async fn start(command: &mut Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let begin = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if child.try_wait()?.is_some() || begin.elapsed() > PATIENCE {
                bail!("it does not listen, see {}: {command:?}", log.display());
            }
            sleep(Duration::from_millis(1)).await;
        }
        let id = child.id().context("it has ended")?;
        Ok(Self { child, stat: Stat::new(id.cast_signed())? })
    }

    /// CPU time so far, user and system, of all threads it has now. The source is the scheduler,
    /// which counts nanoseconds; the sums in `stat` count ticks of a hundredth of a second.
    pub fn cpu(&self) -> Result<Duration> {
        let mut sum = 0;
        for thread in self.stat.tasks()?.flatten() {
            // A thread may end during the loop.
            sum += thread.schedstat().map_or(0, |stat| stat.sum_exec_runtime);
        }
        Ok(Duration::from_nanos(sum))
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> Result<u64> {
        let kilobytes = self.stat.status()?.vmrss.context("no VmRSS")?;
        Ok(kilobytes * 1024)
    }

    /// Ends the process.
    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// An address without a listener.
pub async fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}
