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
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::{
    config::listen::ListenAddress,
    proto::{
        GetSessionRequest, ListSystemLinksRequest, WatchSessionRequest,
        remote_support_service_client::RemoteSupportServiceClient,
    },
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
    in_shell(Command::new("/bin/sh"), preparation, arguments)
}

/// The binary, which sees the file `from` at `to`.
fn binary_with((from, to): (&Path, &str), arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "/bin/sh"]);
    in_shell(command, &format!("mount --bind {} {to}", from.display()), arguments)
}

/// Whether this machine lets [`binary_with`] do so.
async fn can_bind_over(file: (&Path, &str)) -> bool {
    let output = binary_with(file, &["--version"]).output().await;
    output.is_ok_and(|output| output.status.success())
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

/// `serve`, running as a process of its own.
struct Serve {
    child: Child,
    listen: ListenAddress,
    admin: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: JoinHandle<Lines<BufReader<ChildStderr>>>,
    stop_reading: CancellationToken,
}

impl Serve {
    /// Starts it on free ports, and waits until it says that it serves.
    async fn start(arguments: &[&str]) -> Self {
        Self::spawn(binary(&[]), arguments).await
    }

    /// The same in a shell's place, which first does as `preparation` says.
    async fn start_after(preparation: &str, arguments: &[&str]) -> Self {
        Self::spawn(binary_after(preparation, &[]), arguments).await
    }

    /// The same; it sees the first of the two files in the place of the second.
    async fn start_with(file: (&Path, &str), arguments: &[&str]) -> Self {
        Self::spawn(binary_with(file, &[]), arguments).await
    }

    async fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["serve", "--admin-listen=127.0.0.1:0"]);
        if !arguments.contains(&"--listen") {
            command.arg("--listen=127.0.0.1:0");
        }
        command.args(["--drain-delay=0s", "--drain-grace=5s"]).args(arguments);
        let mut child = command.spawn().unwrap();
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
        let (listen, admin) = (field(&line, "address"), field(&line, "admin"));
        let (listen, admin) = (listen.parse().unwrap(), admin.parse().unwrap());
        Self { child, listen, admin, log, reader, stop_reading }
    }

    /// Leaves stderr open, and reads no more of it: what is written from now on fills the pipe.
    async fn stop_reading(&mut self) {
        self.stop_reading.cancel();
        let lines = timeout(LIMIT, &mut self.reader).await.unwrap().unwrap();
        // Open as long as the process.
        self.child.stderr = Some(lines.into_inner().into_inner());
    }

    async fn client(&self) -> RemoteSupportServiceClient<Channel> {
        RemoteSupportServiceClient::connect(self.url()).await.unwrap()
    }

    fn url(&self) -> String {
        match &self.listen {
            ListenAddress::Tcp(address) => format!("http://{address}"),
            ListenAddress::Unix(_) => self.listen.to_string(),
        }
    }

    fn address(&self) -> SocketAddr {
        match self.listen {
            ListenAddress::Tcp(address) => address,
            ListenAddress::Unix(_) => panic!("not over TCP"),
        }
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

/// A field in a line of either form of the log.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.rsplit_once(name).unwrap();
    let rest = rest.trim_start_matches(['"', ':', '=']);
    rest.split([' ', '"']).next().unwrap()
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
