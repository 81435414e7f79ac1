//! The threads that serve: one for each core, each with a runtime of its own. A connection stays on
//! its thread with all its calls, so neither tasks nor wake-ups go from core to core, which is a good
//! part of what a call costs (docs/performance.md).

use std::{future::Future, io, num::NonZero, pin::pin, sync::Arc, thread};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    runtime::{self, Runtime},
    sync::mpsc,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::accept::Arrival;
use crate::admin::liveness::{Heartbeat, Liveness};

/// Those whom one worker serves.
pub(super) type Arrivals = UnboundedReceiverStream<Arrival>;

/// The threads. Dropped, they leave whatever they serve.
#[derive(Debug)]
pub(super) struct Workers {
    lines: Vec<Line>,
    /// Closed when no worker serves any more.
    serving: mpsc::Receiver<()>,
    _end: DropGuard,
}

/// The way to one worker.
#[derive(Debug)]
struct Line {
    arrivals: mpsc::UnboundedSender<Arrival>,
    /// Shared with each connection that is open there.
    open: Arc<()>,
}

impl Workers {
    /// As many as there are cores for this process. Each shows by a heartbeat that it makes progress.
    pub fn start<F>(
        liveness: &Liveness,
        serve: impl FnOnce(Arrivals) -> F + Clone + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()>,
    {
        let (serves, serving) = mpsc::channel(1);
        let end = CancellationToken::new();
        let mut lines = Vec::new();
        for number in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            let (arrivals, queue) = mpsc::unbounded_channel();
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let (serve, serves, end) = (serve.clone(), serves.clone(), end.clone());
            let name = format!("worker-{number}");
            let heartbeat = liveness.expect(&name);
            thread::Builder::new().name(name).spawn(move || {
                work(&runtime, &end, heartbeat, async {
                    serve(UnboundedReceiverStream::new(queue)).await;
                    drop(serves);
                });
            })?;
            lines.push(Line { arrivals, open: Arc::default() });
        }
        Ok(Self { lines, serving, _end: end.drop_guard() })
    }

    /// Hands each who arrives to the worker with the fewest open connections, until `stop`. Returns
    /// when no worker serves any more.
    pub async fn serve(&mut self, arrivals: impl Stream<Item = Arrival>, stop: CancellationToken) {
        {
            let mut arrivals = pin!(arrivals.take_until(stop.cancelled()));
            while let Some(mut arrival) = arrivals.next().await {
                let idlest = self.lines.iter().min_by_key(|line| Arc::strong_count(&line.open));
                if let Some(line) = idlest {
                    arrival.count_with(&line.open);
                    let is_gone = line.arrivals.send(arrival).is_err();
                    // Only by a defect of ours; better to end than to serve some and not others.
                    if is_gone && !stop.is_cancelled() {
                        return;
                    }
                }
            }
            // Here the listener is closed: new clients are refused and go elsewhere.
        }
        let _closed = self.serving.recv().await;
    }
}

/// Runs until the end of all, even when this worker serves nobody any more: what the others wait for
/// (a poll, a request to the vendor) may run here.
fn work(
    runtime: &Runtime,
    end: &CancellationToken,
    heartbeat: Heartbeat,
    serve: impl Future<Output = ()>,
) {
    // The heartbeat has another use: as long as a runtime has no timer that is due before a new one,
    // tokio wakes its driver by a system call for each new one, and each call has a deadline.
    runtime.block_on(end.run_until_cancelled(async { tokio::join!(serve, heartbeat.keep()) }));
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, mpsc},
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn a_worker_that_makes_no_progress_is_found() {
        let liveness = Liveness::new(Duration::from_millis(1500));
        let (release, blocking) = mpsc::channel::<()>();
        let blocking = Arc::new(Mutex::new(Some(blocking)));
        let workers = Workers::start(&liveness, move |_| async move {
            let blocking = blocking.lock().unwrap().take();
            // The first who comes here blocks its thread; the others wait as they should.
            if let Some(blocking) = blocking {
                let _ = blocking.recv();
            }
            std::future::pending::<()>().await;
        })
        .unwrap();
        let until = |is_so: fn(&[String]) -> bool| {
            let start = Instant::now();
            while !is_so(&liveness.stuck()) {
                assert!(start.elapsed() < Duration::from_secs(20), "{:?}", liveness.stuck());
                thread::yield_now();
            }
        };
        until(|stuck| matches!(stuck, [name] if name.starts_with("worker-")));
        drop(release);
        until(<[_]>::is_empty);
        drop(workers);
    }
}
