//! The real binary, in separate processes, which are killed when they are dropped.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::{
    config::listen::ListenAddress, proto::remote_support_service_client::RemoteSupportServiceClient,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{soon, vendor::Vendor};

/// The binary, without the environment of the test run.
pub fn binary(arguments: &[&str]) -> Command {
    binary_after("true", arguments)
}

/// The binary, after a shell has run `preparation`.
pub fn binary_after(preparation: &str, arguments: &[&str]) -> Command {
    in_shell(Command::new("/bin/sh"), preparation, arguments)
}

/// The binary, which sees the file `from` at the path `to`.
pub fn binary_with((from, to): (&str, &str), arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "/bin/sh"]);
    in_shell(command, &format!("mount --bind {from} {to}"), arguments)
}

fn in_shell(mut command: Command, preparation: &str, arguments: &[&str]) -> Command {
    let script = format!("{preparation} && exec \"$0\" \"$@\"");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_gotoassist-grpc")])
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Whether this machine supports [`binary_with`].
pub async fn can_bind_over(file: (&str, &str)) -> bool {
    let output = binary_with(file, &["--version"]).output().await;
    output.is_ok_and(|output| output.status.success())
}

/// Runs a command to its end. Returns its exit status, stdout and stderr.
pub async fn run(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = soon(command.output()).await.unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout), String::from_utf8(stderr));
    (status.code().unwrap_or(-1), stdout.unwrap(), stderr.unwrap())
}

/// Sends a signal, such as `-TERM`.
pub async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
}

/// The exit status of a process that is about to end.
pub async fn exit_code(child: &mut Child) -> Option<i32> {
    soon(child.wait()).await.unwrap().code()
}

/// `serve` in a separate process.
pub struct Serve {
    child: Child,
    listen: ListenAddress,
    pub admin: SocketAddr,
    /// The endpoint for callbacks, if there is one.
    pub callback: Option<SocketAddr>,
    log: Arc<Mutex<String>>,
    reader: JoinHandle<Lines<BufReader<ChildStderr>>>,
    stop_reading: CancellationToken,
}

impl Serve {
    /// Starts `serve` on free ports, and waits until it logs that it is serving.
    pub async fn start(flags: &[&str]) -> Self {
        Self::spawn(binary(&["serve"]), flags).await
    }

    /// Starts `serve` in front of `vendor`.
    pub async fn before(vendor: &Vendor, flags: &[&str]) -> Self {
        Self::start(&[&["--upstream-url", &vendor.rest_url], flags].concat()).await
    }

    /// Starts `serve` as in [`binary_after`].
    pub async fn start_after(preparation: &str, flags: &[&str]) -> Self {
        Self::spawn(binary_after(preparation, &["serve"]), flags).await
    }

    /// Starts `serve` as in [`binary_with`].
    pub async fn start_with(file: (&str, &str), flags: &[&str]) -> Self {
        Self::spawn(binary_with(file, &["serve"]), flags).await
    }

    async fn spawn(mut command: Command, flags: &[&str]) -> Self {
        // A flag takes precedence over these variables.
        for (name, value) in [
            ("LISTEN", "127.0.0.1:0"),
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("DRAIN_DELAY", "0s"),
            ("DRAIN_GRACE", "5s"),
        ] {
            command.env(format!("GOTOASSIST_{name}"), value);
        }
        let mut child = command.args(flags).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (serving, is_serving) = oneshot::channel();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let seen = log.clone();
        let stop_reading = CancellationToken::new();
        let stopped = stop_reading.clone();
        let reader = tokio::spawn(async move {
            let mut serving = Some(serving);
            while let Some(Ok(Some(line))) = stopped.run_until_cancelled(lines.next_line()).await {
                writeln!(seen.lock().unwrap(), "{line}").unwrap();
                if line.contains("serving")
                    && line.contains("admin")
                    && let Some(serving) = serving.take()
                {
                    serving.send(line).unwrap();
                }
            }
            lines
        });
        let line = soon(is_serving).await;
        let line = line.unwrap_or_else(|_| panic!("it ended: {}", log.lock().unwrap()));
        let (listen, admin) = (field(&line, "address"), field(&line, "admin"));
        let (listen, admin) = (listen.parse().unwrap(), admin.parse().unwrap());
        let has_callback = line.contains("callback");
        let callback = has_callback.then(|| field(&line, "callback").parse().unwrap());
        Self { child, listen, admin, callback, log, reader, stop_reading }
    }

    /// Stops reading stderr and leaves it open, so that further output fills the pipe.
    pub async fn stop_reading(&mut self) {
        self.stop_reading.cancel();
        let lines = soon(&mut self.reader).await.unwrap();
        // Keeps stderr open as long as the process runs.
        self.child.stderr = Some(lines.into_inner().into_inner());
    }

    pub fn url(&self) -> String {
        match &self.listen {
            ListenAddress::Tcp(address) => format!("http://{address}"),
            ListenAddress::Unix(_) => self.listen.to_string(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        match self.listen {
            ListenAddress::Tcp(address) => address,
            ListenAddress::Unix(_) => panic!("not over TCP"),
        }
    }

    /// Opens a new connection.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.url()).unwrap().tcp_nodelay(true);
        soon(endpoint.connect()).await.unwrap()
    }

    /// Creates a client with a new connection.
    pub async fn client(&self) -> RemoteSupportServiceClient<Channel> {
        RemoteSupportServiceClient::new(self.channel().await)
    }

    /// The answer of the admin port.
    pub async fn page(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    /// The sum of all series of a metric.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = self.page("/metrics").await;
        let of_metric = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next())??;
            Some(value.parse::<f64>().unwrap())
        });
        of_metric.sum()
    }

    /// Waits until the log has this text.
    pub async fn until_logged(&self, text: &str) {
        soon(async {
            while !self.log.lock().unwrap().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The names of the threads of the process.
    pub fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id().unwrap())).unwrap();
        let name = |task: std::path::PathBuf| std::fs::read_to_string(task.join("comm"));
        tasks.map(|task| name(task.unwrap().path()).unwrap().trim().to_owned()).collect()
    }

    /// Sends a signal, such as `-TERM`.
    pub async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Sends SIGTERM, waits for the end, and returns the whole log.
    pub async fn stop(self) -> String {
        self.signal("-TERM").await;
        self.ended().await
    }

    /// Waits until the process has ended after a signal, and returns the whole log.
    pub async fn ended(mut self) -> String {
        let code = self.exit_code().await;
        let _ = soon(self.reader).await.unwrap();
        let log = self.log.lock().unwrap().clone();
        assert_eq!(code, Some(0), "{log}");
        log
    }

    /// Waits until the process has ended, and returns its exit status.
    pub async fn exit_code(&mut self) -> Option<i32> {
        exit_code(&mut self.child).await
    }

    /// Sends SIGKILL. Returns when the process has ended.
    pub async fn kill(mut self) {
        soon(self.child.kill()).await.unwrap();
    }
}

/// A field of a log line in either format.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.rsplit_once(name).unwrap();
    let rest = rest.trim_start_matches(['"', ':', '=']);
    rest.split([' ', '"']).next().unwrap()
}
