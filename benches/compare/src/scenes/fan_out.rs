//! CPU time of an update to many watchers.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::{
    bench::{Bench, median},
    load::Watching,
    peers::Peer,
    process::Process,
    report::Table,
};

/// The figures of one change.
struct Event {
    /// Microseconds of CPU time per watcher.
    cpu: f64,
    /// Time from the first watcher that gets the update to the last.
    spread: Duration,
    polls_per_minute: f64,
}

/// Changes a session with a growing number of watchers.
pub async fn fan_out(bench: &Bench) -> Result<Table> {
    let mut table =
        Table::new(&["", "watchers", "CPU an event", "slowest", "message", "polls a minute"]);
    for (peer, watchers, connections, changes) in [
        (Peer::Service, 1, 1, 10),
        (Peer::Service, 100, 1, 10),
        (Peer::Service, 1_000, 2, 10),
        (Peer::Service, 10_000, 20, 5),
        (Peer::Service, 100_000, 200, 3),
        (Peer::BareHyper, 10_000, 20, 5),
        (Peer::Go, 10_000, 20, 5),
    ] {
        let running = bench.start(peer).await?;
        let watching = Watching::open(running.address, connections, watchers).await?;
        let event = events(bench, &running.process, &watching, changes).await?;
        table.row([
            peer.name().to_owned(),
            watchers.to_string(),
            format!("{:.1} µs", event.cpu),
            format!("{:.0} ms", event.spread.as_secs_f64() * 1000.0),
            format!("{} B", watching.message_size()),
            format!("{:.0}", event.polls_per_minute),
        ]);
        drop(watching);
        running.process.stop().await?;
    }
    Ok(table)
}

/// Changes the session several times. Returns the figures of one change.
async fn events(
    bench: &Bench,
    process: &Process,
    watching: &Watching,
    changes: usize,
) -> Result<Event> {
    // The CPU time of polls and connections, without a change.
    sleep(Duration::from_secs(2)).await;
    let (quiet_cpu, quiet_begin) = (process.cpu()?, Instant::now());
    let requests = bench.vendor.requests().await?;
    sleep(Duration::from_secs(12)).await;
    // Subtracts the request that reads this number.
    let polls = bench.vendor.requests().await? - requests - 1;
    let quiet = quiet_begin.elapsed();
    let quiet_share = (process.cpu()? - quiet_cpu).as_secs_f64() / quiet.as_secs_f64();

    let (mut busy, mut window) = (0.0, 0.0);
    let mut spreads = Vec::new();
    for number in 0..changes {
        let before = watching.received();
        bench.vendor.change(number).await?;
        // Reads the CPU time shortly before the poll that finds the change.
        let mut latest = (process.cpu()?, Instant::now());
        let mut begin = latest;
        while watching.received() == before {
            if latest.1.elapsed() > Duration::from_millis(50) {
                begin = latest;
                latest = (process.cpu()?, Instant::now());
            }
            sleep(Duration::from_millis(1)).await;
        }
        let first = Instant::now();
        watching.one_more(before).await?;
        spreads.push(first.elapsed().as_secs_f64());
        // The acknowledgements of the clients take CPU time too.
        sleep(Duration::from_millis(20)).await;
        busy += (process.cpu()? - begin.0).as_secs_f64();
        window += begin.1.elapsed().as_secs_f64();
    }
    let busy = busy - quiet_share * window;
    Ok(Event {
        cpu: busy * 1e6 / changes as f64 / watching.count() as f64,
        spread: Duration::from_secs_f64(median(spreads.into_iter())),
        polls_per_minute: polls as f64 * 60.0 / quiet.as_secs_f64(),
    })
}
