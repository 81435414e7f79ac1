//! How a connection to the server comes about: TCP, through the proxy if there is one, TLS.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tower::Service;

use super::{BoxError, setup::Proxy};

/// How long a connection is silent before the system asks whether the other end is there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects within a time.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<FirstHop>,
    limit: Duration,
}

impl Connector {
    /// Connects by `proxy`, if there is one; TCP, proxy and TLS together take no longer than
    /// `limit`.
    pub fn new(tls: ClientConfig, proxy: Option<Proxy>, limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        let first_hop = match proxy {
            None => FirstHop::Server(tcp),
            // Without ALPN: what is said to the proxy itself is HTTP/1.1.
            Some(proxy) => {
                FirstHop::Proxy(proxy, HttpsConnector::from((tcp, Arc::new(tls.clone()))))
            }
        };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(first_hop);
        Self { https, limit }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Hop>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let (connecting, limit) = (self.https.call(server), self.limit);
        Box::pin(async move {
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            timeout(limit, connecting).await.map_err(late)?
        })
    }
}

/// To whom the TCP connection goes.
#[derive(Clone)]
enum FirstHop {
    Server(HttpConnector),
    Proxy(Proxy, HttpsConnector<HttpConnector>),
}

impl Service<Uri> for FirstHop {
    type Response = Hop;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Hop, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Server(tcp) => tcp.poll_ready(cx).map_err(BoxError::from),
            Self::Proxy(_, hop) => hop.poll_ready(cx),
        }
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        match self {
            Self::Server(tcp) => {
                let connecting = tcp.call(server);
                Box::pin(async move { Ok(Hop::direct(MaybeHttpsStream::Http(connecting.await?))) })
            }
            Self::Proxy(proxy, hop) if server.scheme() == Some(&Scheme::HTTPS) => {
                let mut tunnel = Tunnel::new(proxy.address.clone(), hop.clone());
                if let Some(authorization) = &proxy.authorization {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                let connecting = tunnel.call(server);
                Box::pin(async move { Ok(Hop::direct(connecting.await?)) })
            }
            Self::Proxy(proxy, hop) => {
                let connecting = hop.call(proxy.address.clone());
                Box::pin(async move { Ok(Hop { stream: connecting.await?, is_relayed: true }) })
            }
        }
    }
}

/// A connection to the server, or to a proxy that hands on each request by itself.
pub(super) struct Hop {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    is_relayed: bool,
}

impl Hop {
    fn direct(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> Self {
        Self { stream, is_relayed: false }
    }
}

impl Connection for Hop {
    fn connected(&self) -> Connected {
        // A proxy needs the whole address in each request (RFC 9112 §3.2.2).
        self.stream.connected().proxy(self.is_relayed)
    }
}

impl Read for Hop {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

/// Not vectored: a request is small, and hyper then writes it from one piece of memory.
impl Write for Hop {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
