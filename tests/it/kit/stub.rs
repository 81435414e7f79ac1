//! A raw TCP server that answers each request with the bytes of the test.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// The steps of an answer, in order. After the last step the stub waits for the next request on the
/// same connection.
#[derive(Clone)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes, one each second.
    Trickle(Vec<u8>),
    /// Sends the same bytes repeatedly, until the other side closes.
    Repeat(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Waits until the other side closes.
    Hang,
    /// Closes the connection cleanly.
    Close,
    /// Closes the connection with a reset.
    Reset,
}

/// The stub. It stops when it is dropped.
pub struct Stub {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

struct Seen {
    heads: Mutex<Vec<String>>,
    requests: watch::Sender<usize>,
    connections: AtomicUsize,
    hangups: watch::Sender<usize>,
}

/// Returns the steps for a request from its number, its number on its connection, and its head.
type Script = dyn Fn(usize, usize, &str) -> Vec<Step> + Send + Sync;

impl Stub {
    /// Answers every request with the same steps.
    pub async fn always(steps: Vec<Step>) -> Self {
        Self::scripted(move |_, _| steps.clone()).await
    }

    /// Answers each request with the result of `script`, which gets its number (from 0) and its
    /// head.
    pub async fn scripted(
        script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), script).await
    }

    /// Answers each request with the result of `script`, which gets its number (from 0) on its
    /// connection.
    pub async fn by_connection(
        script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let script = Arc::new(move |_, nth, _: &str| script(nth));
        Self::start((Ipv4Addr::LOCALHOST, 0).into(), script).await
    }

    /// Answers as [`Stub::scripted`], at a given address.
    pub async fn at(
        address: SocketAddr,
        script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::start(address, Arc::new(move |number, _, head: &str| script(number, head))).await
    }

    async fn start(address: SocketAddr, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen {
            heads: Mutex::default(),
            requests: watch::channel(0).0,
            connections: AtomicUsize::new(0),
            hangups: watch::channel(0).0,
        });
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                noted.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, noted.clone(), script.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// The base URL of the vendor's API at this stub.
    pub fn url(&self) -> url::Url {
        format!("http://{}/G2A/rest/v1", self.address).parse().unwrap()
    }

    /// Stops accepting connections.
    pub async fn stop(mut self) {
        self.task.abort();
        (&mut self.task).await.ok();
    }

    /// The heads of all requests.
    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }

    /// The number of requests.
    pub fn requests(&self) -> usize {
        self.seen.heads.lock().unwrap().len()
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Waits until this many requests have come.
    pub async fn until_requests(&self, count: usize) {
        self.seen.requests.subscribe().wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// Waits until the other side has closed this many connections while the stub was in a step.
    pub async fn until_hangups(&self, count: usize) {
        self.seen.hangups.subscribe().wait_for(|seen| *seen >= count).await.unwrap();
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>, script: Arc<Script>) {
    for nth in 0.. {
        let Some(head) = read_head(&mut stream).await else { return };
        let number = {
            let mut heads = seen.heads.lock().unwrap();
            heads.push(head.clone());
            heads.len()
        };
        seen.requests.send_replace(number);
        for step in script(number - 1, nth, &head) {
            if !perform(step, &mut stream, &seen).await {
                return;
            }
        }
    }
}

/// Performs a step. Returns whether the connection stays open.
async fn perform(step: Step, stream: &mut TcpStream, seen: &Seen) -> bool {
    match step {
        Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
        Step::Trickle(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
                sleep(Duration::from_secs(1)).await;
            }
            true
        }
        Step::Repeat(bytes) => {
            while stream.write_all(&bytes).await.is_ok() {}
            false
        }
        Step::Wait(time) => {
            sleep(time).await;
            true
        }
        Step::Hang => {
            while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
            seen.hangups.send_modify(|count| *count += 1);
            false
        }
        Step::Close => {
            stream.shutdown().await.ok();
            while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
            false
        }
        Step::Reset => {
            stream.set_zero_linger().ok();
            false
        }
    }
}

/// Reads a head and the bytes that follow it. No client here pipelines requests.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

/// A whole answer with a body.
pub fn answer(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<Step> {
    let body = body.as_ref();
    let length = format!("content-length: {}", body.len());
    let status = format!("HTTP/1.1 {status}");
    let lines = [&[status.as_str(), &length], headers, &["", ""]].concat();
    let head = lines.join("\r\n");
    vec![Step::Send([head.as_bytes(), body].concat())]
}

/// The shortest session.
pub const SESSION: &str = r#"{"sessionId":"1"}"#;

/// A whole answer with status 200.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<Step> {
    answer("200 OK", &["content-type: application/json"], body)
}
