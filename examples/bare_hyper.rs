//! hyper's HTTP/2 server as it comes, with nothing of ours. It answers like a gRPC server what is no
//! gRPC call: with headers that end the stream. What h2spec finds wrong with the service and with
//! this is none of ours (`tests/interop/test_h2spec.py`).

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
