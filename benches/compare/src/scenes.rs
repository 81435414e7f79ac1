//! What is measured, and how it becomes a table.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tokio::{
    fs,
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    etcd,
    load::{Caller, Session, Watching, closed_loop, connect, fixed_rate},
    peers::{Peer, Programs, Running, Vendor},
    process::{Process, free_address},
    report::Table,
};

/// How often the peers of a scene take turns; the median counts.
const ROUNDS: usize = 9;
/// How many watches are opened for their memory, and on how many connections.
const WATCHES: (usize, usize) = (100_000, 200);

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// CPU of `GetSession` where the vendor is always asked.
    Upstream,
    /// CPU of `GetSession` where it is not.
    Shared,
    /// Time added to what the vendor itself takes.
    Latency,
    /// Memory of an open watch.
    Memory,
    /// CPU of a change that goes to many watchers.
    FanOut,
    /// Binary, idle memory, time to start.
    Size,
}

/// All that a scene needs.
pub struct Bench {
    /// The programs.
    pub programs: Programs,
    /// The vendor.
    pub vendor: Vendor,
    /// For logs and the peers' files.
    pub folder: PathBuf,
}

/// What one round of calls gave.
#[derive(Clone, Copy)]
struct Round {
    /// Microseconds of CPU a call.
    cpu: f64,
    calls_per_second: f64,
    memory: u64,
}

impl Bench {
    /// Measures one scene.
    pub async fn measure(&self, scene: Scene) -> Result<Table> {
        match scene {
            Scene::Upstream => self.upstream().await,
            Scene::Shared => self.shared().await,
            Scene::Latency => self.latency().await,
            Scene::Memory => self.memory().await,
            Scene::FanOut => self.fan_out().await,
            Scene::Size => self.size().await,
        }
    }

    async fn start(&self, peer: Peer) -> Result<Running> {
        Running::start(peer, &self.programs, &self.vendor, &self.folder).await
    }

    async fn upstream(&self) -> Result<Table> {
        let peers = [Peer::Service, Peer::Envoy, Peer::Go, Peer::BareReqwest, Peer::BareHyper];
        let mut rounds: HashMap<_, Vec<Round>> = HashMap::new();
        for _ in 0..ROUNDS {
            for peer in peers {
                let running = self.start(peer).await?;
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

    async fn shared(&self) -> Result<Table> {
        let mut rounds: [Vec<Round>; 3] = Default::default();
        for _ in 0..ROUNDS {
            let envoy = self.start(Peer::Envoy).await?;
            rounds[0].push(calls(&envoy, Session::Shared).await?);
            envoy.process.stop().await?;
            let service = self.start(Peer::Service).await?;
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

    async fn latency(&self) -> Result<Table> {
        const RATE: (u32, usize) = (500, 10_000);
        let vendor = reqwest::Client::builder().tls_certs_only([]).no_proxy().build()?;
        let url = format!("{}/sessions/1", self.vendor.url());
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
                let running = self.start(peer).await?;
                let number = Arc::<AtomicUsize>::default();
                let channel = connect(running.address).await?;
                let caller = Caller::new(channel, Session::Distinct, number);
                let ask = || {
                    let mut caller = caller.clone();
                    async move { Ok(caller.call().await?) }
                };
                // Connections, and whatever else is made at first use.
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

    async fn memory(&self) -> Result<Table> {
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
            let running = self.start(peer).await?;
            drop(Watching::open(running.address, 1, 1).await?);
            let before = running.process.memory()?;
            let watching = Watching::open(running.address, connections, count).await?;
            sleep(Duration::from_secs(5)).await;
            row(peer.name(), before, running.process.memory()?);
            drop(watching);
            running.process.stop().await?;
        }
        let (address, process) = etcd::start(&self.folder).await?;
        drop(etcd::watch(address, 1, 1).await?);
        let before = process.memory()?;
        let watches = etcd::watch(address, connections, count).await?;
        sleep(Duration::from_secs(5)).await;
        row("etcd, a stream for each watch", before, process.memory()?);
        drop(watches);
        process.stop().await?;
        Ok(table)
    }

    async fn fan_out(&self) -> Result<Table> {
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
            let running = self.start(peer).await?;
            let watching = Watching::open(running.address, connections, watchers).await?;
            let event = self.events(&running.process, &watching, changes).await?;
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

    async fn events(
        &self,
        process: &Process,
        watching: &Watching,
        changes: usize,
    ) -> Result<Event> {
        // What it costs that nothing changes: the polls, and the connections.
        sleep(Duration::from_secs(2)).await;
        let (quiet_cpu, quiet_begin) = (process.cpu()?, Instant::now());
        let requests = self.vendor.requests().await?;
        sleep(Duration::from_secs(12)).await;
        // Less the request that asked.
        let polls = self.vendor.requests().await? - requests - 1;
        let quiet = quiet_begin.elapsed();
        let quiet_share = (process.cpu()? - quiet_cpu).as_secs_f64() / quiet.as_secs_f64();

        let (mut busy, mut window) = (0.0, 0.0);
        let mut spreads = Vec::new();
        for number in 0..changes {
            let before = watching.received();
            self.vendor.change(number).await?;
            // The CPU time shortly before the poll that finds the change.
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
            // What the clients acknowledge.
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

    async fn size(&self) -> Result<Table> {
        let mut table = Table::new(&["", "binary", "idle memory", "start to ready"]);
        let service = &self.programs.service;
        let (mut memory, mut ready) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (address, admin) = (free_address().await?, free_address().await?);
            let mut command = Command::new(service);
            command
                .args(["serve", "--listen", &address.to_string()])
                .args(["--admin-listen", &admin.to_string()])
                .args(["--upstream-url", &self.vendor.url()]);
            let begin = Instant::now();
            let process =
                Process::start(&mut command, address, &self.folder.join("idle.log")).await?;
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
}

/// What a change costs that many watch.
struct Event {
    /// Microseconds of CPU for each watcher.
    cpu: f64,
    /// From the first who heard of it to the last.
    spread: Duration,
    polls_per_minute: f64,
}

/// A round of calls, after some that do not count.
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

/// The median of the ratios, round by round.
fn ratio(own: &[Round], other: &[Round]) -> f64 {
    median(own.iter().zip(other).map(|(own, other)| own.cpu / other.cpu))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
