//! A real Redis on a port of its own.

use std::{net::TcpListener, process::Stdio, time::Duration};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use crate::kit::{folder::Folder, soon};

/// A Redis that is killed when it is dropped.
pub struct Redis {
    pub port: u16,
    pub folder: Folder,
    flags: Vec<String>,
    child: Child,
}

impl Redis {
    /// Starts Redis. Returns `None` if it is not installed, and says so.
    pub async fn start() -> Option<Self> {
        Self::with(|_| Vec::new()).await
    }

    /// Starts Redis with the flags that `flags` returns for its folder.
    pub async fn with(flags: impl FnOnce(&Folder) -> Vec<String>) -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output().await;
        if version.is_err() {
            eprintln!("skipped: redis-server is not installed");
            return None;
        }
        let folder = Folder::new();
        let port = free_port();
        let flags = flags(&folder);
        let child = spawn(port, &folder, &flags);
        let redis = Self { port, folder, flags, child };
        redis.until_ready().await;
        Some(redis)
    }

    /// The flags of `serve` for a replica of this Redis.
    pub fn replica_flags(&self) -> Vec<String> {
        let key = self.folder.write("fleet-key", "0123456789abcdef0123456789abcdef");
        vec![
            format!("--fleet-url=redis://127.0.0.1:{}", self.port),
            format!("--fleet-key-file={key}"),
        ]
    }

    /// Runs a command, and returns the reply.
    pub async fn command(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output();
        String::from_utf8_lossy(&soon(output).await.unwrap().stdout).into_owned()
    }

    /// Ends at once, as in a crash. All data is lost.
    pub async fn kill(&mut self) {
        soon(self.child.kill()).await.unwrap();
    }

    /// Starts again after [`Redis::kill`], at the same port and without data.
    pub async fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, &self.flags);
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        soon(async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

/// A port without a listener.
pub fn free_port() -> u16 {
    free_ports(1)[0]
}

/// So many different ports without a listener.
pub fn free_ports(count: usize) -> Vec<u16> {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    // All listen at the same time, so that no port is there twice.
    let listeners: Vec<_> = (0..count).map(|_| free()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Flags that are repeated replace the earlier ones.
fn spawn(port: u16, folder: &Folder, flags: &[String]) -> Child {
    let port = port.to_string();
    let folder = folder.path(".");
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port, "--dir"])
        .arg(folder)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
