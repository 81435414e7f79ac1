//! What an operator does with the real binary and sees of it: checks, limits, numbers, silence.

mod causes;
mod check;
mod collector;
mod descriptors;
mod limits;
mod load;
mod numbers;
mod redaction;
mod reload;
mod runbook;
mod stuck;
mod traces;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::proto::{
    GetSessionRequest, ListSystemLinksRequest, WatchSessionRequest,
    remote_support_service_client::RemoteSupportServiceClient,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

/// Longer than anything here takes, shorter than patience.
const LIMIT: Duration = Duration::from_mins(1);

fn binary(arguments: &[&str]) -> Command {
    binary_after("true", arguments)
}

/// The binary in a shell's place, which first does as `preparation` says.
fn binary_after(preparation: &str, arguments: &[&str]) -> Command {
    let script = format!("{preparation} && exec \"$0\" \"$@\"");
    let mut command = Command::new("/bin/sh");
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

/// `serve`, running as a process of its own.
struct Serve {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: JoinHandle<Lines<BufReader<ChildStderr>>>,
    stop_reading: CancellationToken,
}

impl Serve {
    /// Starts it on free ports, and waits until it says that it serves.
    async fn start(arguments: &[&str]) -> Self {
        Self::start_after("true", arguments).await
    }

    /// The same in a shell's place, which first does as `preparation` says.
    async fn start_after(preparation: &str, arguments: &[&str]) -> Self {
        let ports = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let drain = ["--drain-delay", "0s", "--drain-grace", "5s"];
        let arguments = [&ports[..], &drain, arguments].concat();
        let mut child = binary_after(preparation, &arguments).spawn().unwrap();
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
                if line.contains("serving") && line.contains("admin") {
                    serving.take().unwrap().send(line).unwrap();
                }
            }
            lines
        });
        let line = timeout(LIMIT, is_serving).await.unwrap();
        let line = line.unwrap_or_else(|_| panic!("it ended: {}", log.lock().unwrap()));
        let (address, admin) = (address(&line, "address"), address(&line, "admin"));
        Self { child, address, admin, log, reader, stop_reading }
    }

    /// Leaves stderr open, and reads no more of it: what is written from now on fills the pipe.
    async fn stop_reading(&mut self) {
        self.stop_reading.cancel();
        let lines = timeout(LIMIT, &mut self.reader).await.unwrap().unwrap();
        // Open as long as the process.
        self.child.stderr = Some(lines.into_inner().into_inner());
    }

    async fn client(&self) -> RemoteSupportServiceClient<Channel> {
        RemoteSupportServiceClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    /// What the admin port answers.
    async fn page(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    /// Sends a signal, such as `-TERM`.
    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }

    /// Waits until it has logged this.
    async fn until_logged(&self, text: &str) {
        let is_logged = async {
            while !self.log.lock().unwrap().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let result = timeout(LIMIT, is_logged).await;
        result.unwrap_or_else(|_| panic!("{text} in {}", self.log.lock().unwrap()));
    }

    /// Ends it as a supervisor does, and gives all that it logged.
    async fn stop(self) -> String {
        self.signal("-TERM").await;
        self.ended().await
    }

    /// Waits for the end that it was asked for, and gives all that it logged.
    async fn ended(mut self) -> String {
        let ended = timeout(LIMIT, self.child.wait()).await.unwrap().unwrap();
        let _ = timeout(LIMIT, self.reader).await.unwrap().unwrap();
        let log = self.log.lock().unwrap().clone();
        assert_eq!(ended.code(), Some(0), "{log}");
        log
    }
}

/// The address in a line of either form of the log.
fn address(line: &str, name: &str) -> SocketAddr {
    let (_, rest) = line.rsplit_once(name).unwrap();
    let rest = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | ':')).unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}

fn signed<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    request
}

fn session(id: &str) -> GetSessionRequest {
    GetSessionRequest { session_id: id.into() }
}

fn links(domain: &str) -> ListSystemLinksRequest {
    ListSystemLinksRequest { system_domain: domain.into() }
}

fn watch(id: &str) -> WatchSessionRequest {
    WatchSessionRequest { session_id: id.into(), ..WatchSessionRequest::default() }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap_or_else(|| panic!("{status:?}")).reason
}
