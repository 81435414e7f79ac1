//! The latency that a peer adds to the vendor's own.

use std::sync::{Arc, atomic::AtomicUsize};

use anyhow::Result;

use crate::{
    bench::{Bench, median},
    load::{Caller, Session, connect, fixed_rate},
    peers::Peer,
    report::Table,
};

/// Calls the vendor and the peers at the same fixed rate.
pub async fn latency(bench: &Bench) -> Result<Table> {
    const RATE: (u32, usize) = (500, 10_000);
    let vendor = reqwest::Client::builder().tls_certs_only([]).no_proxy().build()?;
    let url = format!("{}/sessions/1", bench.vendor.url());
    let direct = async || {
        fixed_rate(RATE, || {
            let request = vendor.get(&url);
            async move { Ok(drop(request.send().await?.error_for_status()?.bytes().await?)) }
        })
        .await
    };
    let mut rows: Vec<(&str, Vec<[f64; 3]>)> = vec![("the vendor itself", Vec::new())];
    let peers = [Peer::Service, Peer::Envoy, Peer::Go, Peer::BareHyper];
    rows.extend(peers.map(|peer| (peer.name(), Vec::new())));
    for _ in 0..3 {
        let mut latencies = vec![(direct().await?, 0.0)];
        for peer in peers {
            let running = bench.start(peer).await?;
            let number = Arc::<AtomicUsize>::default();
            let channel = connect(running.address).await?;
            let caller = Caller::new(channel, Session::Distinct, number);
            let ask = || {
                let mut caller = caller.clone();
                async move { Ok(caller.call().await?) }
            };
            // The warm-up opens connections and initialises caches.
            fixed_rate((500, 500), ask).await?;
            let before = running.process.cpu()?;
            let latency = fixed_rate(RATE, ask).await?;
            let cpu = (running.process.cpu()? - before).as_secs_f64();
            latencies.push((latency, cpu * 1e6 / RATE.1 as f64));
            running.process.stop().await?;
        }
        for ((_, row), (latencies, cpu)) in rows.iter_mut().zip(latencies) {
            let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
            row.push([at(0.5), at(0.99), cpu]);
        }
    }
    let column = |row: &[[f64; 3]], index: usize| median(row.iter().map(|each| each[index]));
    let direct = [0, 1].map(|index| column(&rows[0].1, index));
    let mut table = Table::new(&["", "p50", "p99", "p50 added", "p99 added", "CPU a call"]);
    for (name, row) in &rows {
        let own = [0, 1, 2].map(|index| column(row, index));
        table.row([
            (*name).to_owned(),
            format!("{:.2} ms", own[0]),
            format!("{:.2} ms", own[1]),
            format!("{:.2} ms", own[0] - direct[0]),
            format!("{:.2} ms", own[1] - direct[1]),
            format!("{:.0} µs", own[2]),
        ]);
    }
    Ok(table)
}
