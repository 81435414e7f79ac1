//! Measures the memory of etcd's watches, each on its own gRPC stream. It uses a few fields of the
//! protocol: <https://etcd.io/docs/v3.5/dev-guide/api_reference_v3/>.

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

/// Starts etcd with its data in `folder`.
pub async fn start(folder: &Path) -> Result<(SocketAddr, Process)> {
    let (address, peer) = (free_address().await?, free_address().await?);
    let (client_url, peer_url) = (format!("http://{address}"), format!("http://{peer}"));
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
        .args(["--initial-cluster", &format!("default={peer_url}"), "--log-level", "error"]);
    let process = Process::start(&mut command, address, &folder.join("etcd.log")).await?;
    Ok((address, process))
}

/// Watches that stay open until this is dropped.
pub struct Watches(#[expect(dead_code, reason = "kept open")] Vec<Streaming<WatchResponse>>);

/// Opens `count` watches of one key on `connections`, and waits until all are created.
pub async fn watch(address: SocketAddr, connections: usize, count: usize) -> Result<Watches> {
    let mut opening = JoinSet::new();
    for _ in 0..connections {
        let channel = connect(address).await?;
        opening.spawn(async move {
            let mut client = Grpc::new(channel);
            let mut watches = Vec::new();
            for _ in 0..count / connections {
                client.ready().await?;
                let create = Some(WatchCreateRequest { key: b"shared".to_vec() });
                // Keeps the request stream open, because its end would end the watch.
                let requests = futures_util::stream::iter([WatchRequest { create }])
                    .chain(futures_util::stream::pending());
                let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
                let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
                let answer = client.streaming(Request::new(requests), path, codec).await?;
                let mut messages = answer.into_inner();
                let first = messages.message().await?.context("etcd ends a watch")?;
                anyhow::ensure!(first.created, "etcd refuses a watch");
                watches.push(messages);
            }
            anyhow::Ok(watches)
        });
    }
    let mut watches = Vec::new();
    while let Some(opened) = opening.join_next().await {
        watches.extend(opened??);
    }
    Ok(Watches(watches))
}
