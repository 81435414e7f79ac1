//! Clients on a Unix socket whose `:authority` is its percent-encoded path: grpcio, C++, Ruby, PHP
//! and Java. HTTP/2 does not allow this authority and no Rust client sends it, so the test writes
//! the frames itself.

use bytes::{Buf as _, BufMut as _, BytesMut};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{
    super::{session, soon},
    Load, id,
};
use crate::kit::{folder::Folder, vendor::Vendor};

/// More errors than the default of h2 allows on a connection (1,024).
const CALLS: usize = 1_100;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_authority_is_the_path_of_the_socket_harms_nobody_and_may_name_another() {
    let folder = Folder::new();
    let path = folder.path("grpc.sock").display().to_string();
    let encoded = path.replace('/', "%2F");
    let vendor = Vendor::start().await;
    let listen = format!("unix:{path}");
    let serve = Load::serve(&vendor.rest_url, &["--listen", &listen]).await;
    let mut load = Load::start(&vendor, &serve).await;

    let mut peer = Peer::connect(&path).await;
    let trouble = async {
        for number in 0..CALLS {
            assert_eq!(peer.call(&encoded, number).await, Outcome::Reset(PROTOCOL_ERROR));
            if number % 10 == 0 {
                // As with the channel option `grpc.default_authority`.
                assert_eq!(peer.call("localhost", number).await, Outcome::Message);
            }
        }
    };
    load.is_undisturbed_by(trouble).await;
    load.end(&vendor).await;
}

const PROTOCOL_ERROR: u32 = 1;

// Types of frames, and flags (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The result of a call.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Message,
    Reset(u32),
}

/// A client that sends any authority.
struct Peer {
    socket: UnixStream,
    next_stream: u32,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Peer {
    async fn connect(path: &str) -> Self {
        let mut socket = UnixStream::connect(path).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut peer = Self { socket, next_stream: 1 };
        peer.send(SETTINGS, 0, 0, &[]).await;
        peer
    }

    /// Calls `GetSession`.
    async fn call(&mut self, authority: &str, number: usize) -> Outcome {
        let stream = self.next_stream;
        self.next_stream += 2;
        let path = "/gotoassist.remotesupport.v1.RemoteSupportService/GetSession";
        // `:method: POST` and `:scheme: http` of the static table (RFC 7541 appendix A).
        let mut headers = vec![0x83, 0x86];
        for (name, value) in [
            (":authority", authority),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", "Bearer socket"),
        ] {
            // A literal that is not put into the table.
            headers.push(0);
            for text in [name, value] {
                headers.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
                headers.extend_from_slice(text.as_bytes());
            }
        }
        self.send(HEADERS, END_HEADERS, stream, &headers).await;
        let message = session(&id(number)).encode_to_vec();
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(message.len().try_into().unwrap());
        body.put_slice(&message);
        self.send(DATA, END_STREAM, stream, &body).await;
        soon(self.outcome(stream)).await
    }

    async fn outcome(&mut self, stream: u32) -> Outcome {
        let mut has_message = false;
        loop {
            let frame = self.next().await;
            match frame.kind {
                SETTINGS | PING if frame.flags & ACK == 0 => {
                    let payload = if frame.kind == PING { &*frame.payload } else { &[] };
                    self.send(frame.kind, ACK, 0, payload).await;
                }
                GOAWAY => panic!("the connection ends: {:?}", frame.payload),
                DATA => {
                    has_message |= !frame.payload.is_empty();
                    let increment = u32::try_from(frame.payload.len()).unwrap();
                    if increment > 0 {
                        self.send(WINDOW_UPDATE, 0, 0, &increment.to_be_bytes()).await;
                    }
                }
                RST_STREAM if frame.stream == stream => {
                    return Outcome::Reset(frame.payload.as_slice().get_u32());
                }
                HEADERS if frame.flags & END_STREAM != 0 && frame.stream == stream => {
                    assert!(has_message, "an answer without a message");
                    return Outcome::Message;
                }
                _ => {}
            }
        }
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_uint(payload.len() as u64, 3);
        frame.put_u8(kind);
        frame.put_u8(flags);
        frame.put_u32(stream);
        frame.put_slice(payload);
        self.socket.write_all(&frame).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.expect("the connection goes on");
        let mut head = &head[..];
        let length = usize::try_from(head.get_uint(3)).unwrap();
        let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
        let mut payload = vec![0; length];
        self.socket.read_exact(&mut payload).await.unwrap();
        Frame { kind, flags, stream, payload }
    }
}
