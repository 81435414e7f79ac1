//! Answers a client that speaks HTTP/1.1 to the port of gRPC, such as a browser, so that a person sees
//! what the port is for.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::connection::Connection;

/// How long the client may take to send its request and to read the answer.
const LIMIT: Duration = Duration::from_secs(5);

/// How much of a request is read, in bytes. The answer does not depend on it.
const MAX_HEAD: u64 = 8 * 1024;

/// The longest method that is recognized.
const LONGEST_METHOD: usize = 16;

const EXPLANATION: &str = "This port speaks gRPC, over HTTP/2 only.

    grpcurl -plaintext HOST:PORT list

lists its services. With TLS, leave out -plaintext. The status page for operators is on another port:
http://127.0.0.1:9464 on the machine of the service, unless its --admin-listen says otherwise.
";

/// Whether the first bytes of a connection begin an HTTP/1.1 request, such as `GET /`. `None` if it
/// takes more bytes to know. The preface of HTTP/2 is `PRI *`.
pub(super) fn is_request(first: &[u8]) -> Option<bool> {
    let method = first.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match &first[method..] {
        _ if method > LONGEST_METHOD => Some(false),
        [] | [b' '] => None,
        [b' ', b'/', ..] => Some(method > 0),
        _ => Some(false),
    }
}

/// Reads one request, explains the port, and closes the connection.
pub(super) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: Connection<S>) {
    let exchange = async {
        let mut head = Vec::new();
        let mut limited = (&mut stream).take(MAX_HEAD);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if limited.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        // RFC 9110 §15.6.6: the answer should say which protocols there are.
        let answer = format!(
            "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{}",
            EXPLANATION.len(),
            if head.starts_with(b"HEAD ") { "" } else { EXPLANATION },
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // There is nobody to tell.
    let _ = timeout(LIMIT, exchange).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_from_the_preface_and_from_tls() {
        for (first, expected) in [
            (&b"GET / HTTP/1.1"[..], Some(true)),
            (b"POST /a", Some(true)),
            (b"PRI * HTTP/2.0", Some(false)),
            (b"PRI ", None),
            (b"G", None),
            (b"", None),
            (b" /", Some(false)),
            (b"\x16\x03\x01", Some(false)),
            (b"get / HTTP/1.1", Some(false)),
            (b"INVALID PREFACE", Some(false)),
            (b"AAAAAAAAAAAAAAAAA", Some(false)),
        ] {
            assert_eq!(is_request(first), expected, "{first:?}");
        }
    }
}
