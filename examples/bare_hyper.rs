//! An HTTP/2 server of hyper with its defaults, without any code of this service. Like a gRPC
//! server, it answers a request that is not a gRPC call with headers that end the stream. A finding
//! of h2spec in both this server and the service is not a defect of the service
//! (`tests/interop/test_h2spec.py`).

use std::convert::Infallible;

use hyper::{Response, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        let answer = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
        let serving =
            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), answer);
        tokio::spawn(async move { drop(serving.await) });
    }
}
