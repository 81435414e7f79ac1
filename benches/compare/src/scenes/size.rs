//! The size of the binary, its idle memory, and its time to start.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::{
    fs,
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    bench::{Bench, ROUNDS, median, megabytes},
    peers::Peer,
    process::{Process, free_address},
    report::Table,
};

/// Starts the service repeatedly.
pub async fn size(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(&["", "binary", "idle memory", "start to ready"]);
    let service = &bench.programs.service;
    let (mut memory, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (address, admin) = (free_address().await?, free_address().await?);
        let mut command = Command::new(service);
        command
            .args(["serve", "--listen", &address.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .args(["--upstream-url", &bench.vendor.url()]);
        let begin = Instant::now();
        let process = Process::start(&mut command, address, &bench.folder.join("idle.log")).await?;
        reqwest::get(format!("http://{admin}/readyz")).await?.error_for_status()?;
        ready.push(begin.elapsed().as_secs_f64() * 1000.0);
        sleep(Duration::from_secs(1)).await;
        memory.push(process.memory()? as f64);
        process.stop().await?;
    }
    table.row([
        Peer::Service.name().to_owned(),
        megabytes(fs::metadata(service).await.context("no binary")?.len()),
        megabytes(median(memory.into_iter()) as u64),
        format!("{:.0} ms", median(ready.into_iter())),
    ]);
    Ok(table)
}
