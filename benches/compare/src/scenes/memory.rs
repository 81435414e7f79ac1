//! The memory of an open watch.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    bench::{Bench, megabytes},
    etcd,
    load::Watching,
    peers::Peer,
    report::Table,
};

/// The numbers of open watches and of connections.
const WATCHES: (usize, usize) = (100_000, 200);

/// Compares the memory before and after all watches are open.
pub async fn memory(bench: &Bench) -> Result<Table> {
    let (count, connections) = WATCHES;
    let mut table = Table::new(&["", "before", "with all watches", "a watch"]);
    let mut row = |name: &str, before: u64, after: u64| {
        table.row([
            name.to_owned(),
            megabytes(before),
            megabytes(after),
            format!("{:.1} KB", (after - before) as f64 / count as f64 / 1000.0),
        ]);
    };
    for peer in [Peer::Service, Peer::BareHyper, Peer::Go] {
        let running = bench.start(peer).await?;
        drop(Watching::open(running.address, 1, 1).await?);
        let before = running.process.memory()?;
        let watching = Watching::open(running.address, connections, count).await?;
        sleep(Duration::from_secs(5)).await;
        row(peer.name(), before, running.process.memory()?);
        drop(watching);
        running.process.stop().await?;
    }
    for (name, connections, streams, watches) in [
        ("etcd, a stream for each watch", connections, count / connections, 1),
        ("etcd, 10,000 watches on each stream", 10, 1, count / 10),
    ] {
        let (address, process) = etcd::start(&bench.folder).await?;
        drop(etcd::watch(address, 1, 1, 1).await?);
        let before = process.memory()?;
        let opened = etcd::watch(address, connections, streams, watches).await?;
        sleep(Duration::from_secs(5)).await;
        row(name, before, process.memory()?);
        drop(opened);
        process.stop().await?;
    }
    Ok(table)
}
