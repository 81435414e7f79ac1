//! The endpoint for the vendor's callbacks, over real sockets: what it answers, which hints it gives,
//! its limits, and how an operator runs it.

mod answers;
mod limits;
mod service;
mod wakes;

use std::net::SocketAddr;

use gotoassist_grpc::callback::{Callbacks, Secrets};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::kit::{folder::Folder, soon};

const SECRET: &str = "the-newest-secret";
const OLDER: &str = "the-older-secret-";
const PATH: &str = "/callbacks/session-status/";

/// The endpoint in this process, with both secrets. It runs until it is dropped.
struct Endpoint {
    address: SocketAddr,
    hints: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Endpoint {
    async fn open() -> Self {
        let folder = Folder::new();
        folder.write("secrets", format!("# the newest is the first\n{SECRET}\n\n{OLDER}\n"));
        let secrets = Secrets::open(&folder.path("secrets")).unwrap();
        let (sender, hints) = mpsc::unbounded_channel();
        let callbacks = Callbacks::new(secrets, move |session| {
            sender.send(session.as_str().to_owned()).unwrap();
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let served = tokio::spawn(callbacks.serve(listener, stop.clone()));
        Self { address, hints, stop, served }
    }

    /// Sends a callback with the right secret. Returns the whole answer.
    async fn post(&self, body: impl AsRef<[u8]>) -> String {
        exchange(self.address, &post(SECRET, "", body.as_ref())).await
    }

    /// The session of the next hint.
    async fn hint(&mut self) -> String {
        soon(self.hints.recv()).await.unwrap()
    }

    /// The hints up to now. The mark is a session that is hinted after them.
    async fn hints_before(&mut self, mark: &str) -> Vec<String> {
        assert_eq!(code(&self.post(format!("sessionId={mark}")).await), 204);
        let mut before = Vec::new();
        loop {
            match self.hint().await {
                session if session == mark => return before,
                session => before.push(session),
            }
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// A callback. `headers` are whole lines.
fn post(secret: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {PATH}{secret} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {length}");
    [head.as_bytes(), b"\r\n\r\n", body].concat()
}

/// Sends bytes on a new connection. Returns the answer up to the end of the connection.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    soon(socket.write_all(request)).await.unwrap();
    answer(&mut socket).await
}

/// The answer up to the end of the connection.
async fn answer(socket: &mut TcpStream) -> String {
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

fn code(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer}")).parse().unwrap()
}

/// The answer without its time.
fn without_date(answer: &str) -> String {
    let lines = answer.split("\r\n").filter(|line| !line.starts_with("date: "));
    lines.collect::<Vec<_>>().join("\r\n")
}
