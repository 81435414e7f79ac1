//! CPU time of a call.

use std::collections::HashMap;

use anyhow::Result;

use crate::{
    bench::{Bench, ROUNDS, median, megabytes},
    load::{Session, Watching, closed_loop},
    peers::{Peer, Running},
    report::Table,
};

/// The figures of one round of calls.
#[derive(Clone, Copy)]
struct Round {
    /// Microseconds of CPU time per call.
    cpu: f64,
    calls_per_second: f64,
    memory: u64,
}

/// Measures calls with a different session each.
pub async fn upstream(bench: &Bench) -> Result<Table> {
    let peers = [Peer::Service, Peer::Envoy, Peer::Go, Peer::BareReqwest, Peer::BareHyper];
    let mut rounds: HashMap<_, Vec<Round>> = HashMap::new();
    for _ in 0..ROUNDS {
        for peer in peers {
            let running = bench.start(peer).await?;
            let round = calls(&running, Session::Distinct).await?;
            rounds.entry(peer).or_default().push(round);
            running.process.stop().await?;
        }
    }
    let mut table = Table::new(&[
        "",
        "CPU a call",
        "of Envoy's",
        "of Go's",
        "of bare tonic + reqwest's",
        "calls/s",
        "memory",
    ]);
    for peer in peers {
        let own = &rounds[&peer];
        let ratio = |other| format!("{:.2}", ratio(own, &rounds[&other]));
        table.row([
            peer.name().to_owned(),
            format!("{:.0} µs", median(own.iter().map(|round| round.cpu))),
            ratio(Peer::Envoy),
            ratio(Peer::Go),
            ratio(Peer::BareReqwest),
            format!("{:.0}", median(own.iter().map(|round| round.calls_per_second))),
            megabytes(own.iter().map(|round| round.memory).max().unwrap_or_default()),
        ]);
    }
    Ok(table)
}

/// Measures calls that all ask for the same session.
pub async fn shared(bench: &Bench) -> Result<Table> {
    let mut rounds: [Vec<Round>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let envoy = bench.start(Peer::Envoy).await?;
        rounds[0].push(calls(&envoy, Session::Shared).await?);
        envoy.process.stop().await?;
        let service = bench.start(Peer::Service).await?;
        rounds[1].push(calls(&service, Session::Shared).await?);
        let watching = Watching::open(service.address, 1, 1).await?;
        rounds[2].push(calls(&service, Session::Watched).await?);
        drop(watching);
        service.process.stop().await?;
    }
    let [envoy, single_flight, watched] = &rounds;
    let mut table = Table::new(&["", "CPU a call", "of Envoy's", "calls/s"]);
    for (name, own) in [
        ("Envoy, reverse transcoder", envoy),
        ("gotoassist-grpc, single flight", single_flight),
        ("gotoassist-grpc, from a watch (`max-staleness`)", watched),
    ] {
        table.row([
            name.to_owned(),
            format!("{:.0} µs", median(own.iter().map(|round| round.cpu))),
            format!("{:.2}", ratio(own, envoy)),
            format!("{:.0}", median(own.iter().map(|round| round.calls_per_second))),
        ]);
    }
    Ok(table)
}

/// One round of calls, after a warm-up.
async fn calls(running: &Running, session: Session) -> Result<Round> {
    const CALLS: usize = 20_000;
    closed_loop(running.address, session, (4, 64, 2_000)).await?;
    let before = running.process.cpu()?;
    let elapsed = closed_loop(running.address, session, (4, 64, CALLS)).await?;
    let cpu = running.process.cpu()? - before;
    Ok(Round {
        cpu: cpu.as_secs_f64() * 1e6 / CALLS as f64,
        calls_per_second: CALLS as f64 / elapsed.as_secs_f64(),
        memory: running.process.memory()?,
    })
}

/// The median of the ratios of the rounds.
fn ratio(own: &[Round], other: &[Round]) -> f64 {
    median(own.iter().zip(other).map(|(own, other)| own.cpu / other.cpu))
}
