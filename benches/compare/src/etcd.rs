//! Measures the memory of etcd's watches, each on its own gRPC stream, or many on one stream. It uses
//! a few fields of the protocol: <https://etcd.io/docs/v3.5/dev-guide/api_reference_v3/>.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use http::uri::PathAndQuery;
use tokio::{process::Command, task::JoinSet};
use tonic::{Request, Streaming, client::Grpc};
use tonic_prost::ProstCodec;

use crate::{
    load::connect,
    process::{Process, free_address},
};

#[derive(Clone, PartialEq, prost::Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchResponse {
    #[prost(bool, tag = "3")]
    created: bool,
}

/// Starts etcd with new data in `folder`.
pub async fn start(folder: &Path) -> Result<(SocketAddr, Process)> {
    let data = folder.join("etcd");
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    let (address, peer) = (free_address().await?, free_address().await?);
    let (client_url, peer_url) = (format!("http://{address}"), format!("http://{peer}"));
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
        .args(["--initial-cluster", &format!("default={peer_url}"), "--log-level", "error"]);
    let process = Process::start(&mut command, address, &folder.join("etcd.log")).await?;
    Ok((address, process))
}

/// Watches that stay open until this is dropped.
pub struct Watches(#[expect(dead_code, reason = "kept open")] Vec<Streaming<WatchResponse>>);

/// Opens watches on `connections`, and waits until all are created. Each connection has `streams`
/// streams, and each stream has `watches` watches, each of a key of its own.
pub async fn watch(
    address: SocketAddr,
    connections: usize,
    streams: usize,
    watches: usize,
) -> Result<Watches> {
    let mut opening = JoinSet::new();
    for connection in 0..connections {
        let channel = connect(address).await?;
        opening.spawn(async move {
            let mut client = Grpc::new(channel);
            let mut opened = Vec::new();
            for stream in 0..streams {
                client.ready().await?;
                let create = move |watch| {
                    let key = format!("{connection}/{stream}/{watch}").into_bytes();
                    WatchRequest { create: Some(WatchCreateRequest { key }) }
                };
                // Keeps the request stream open, because its end would end the watches.
                let requests = futures_util::stream::iter((0..watches).map(create))
                    .chain(futures_util::stream::pending());
                let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
                let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
                let answer = client.streaming(Request::new(requests), path, codec).await?;
                let mut messages = answer.into_inner();
                for _ in 0..watches {
                    let created = messages.message().await?.context("etcd ends a stream")?;
                    anyhow::ensure!(created.created, "etcd refuses a watch");
                }
                opened.push(messages);
            }
            anyhow::Ok(opened)
        });
    }
    let mut opened = Vec::new();
    while let Some(streams) = opening.join_next().await {
        opened.extend(streams??);
    }
    Ok(Watches(opened))
}
