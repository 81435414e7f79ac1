//! The threads that serve: one for each core, each with a runtime of its own. A connection stays on
//! its thread with all its calls, so neither tasks nor wake-ups go from core to core, which is a good
//! part of what a call costs (docs/performance.md).

use std::{future::Future, io, num::NonZero, pin::pin, sync::Arc, thread, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    runtime::{self, Runtime},
    sync::mpsc,
    time::interval,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::accept::Arrival;

/// How often a worker wakes without a reason: seldom enough to cost nothing, and sooner than a call may
/// last.
const PULSE: Duration = Duration::from_secs(1);

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
    /// As many as there are cores for this process.
    pub fn start<F>(serve: impl FnOnce(Arrivals) -> F + Clone + Send + 'static) -> io::Result<Self>
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
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                work(&runtime, &end, async {
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
fn work(runtime: &Runtime, end: &CancellationToken, serve: impl Future<Output = ()>) {
    runtime.block_on(end.run_until_cancelled(async { tokio::join!(serve, pulse()) }));
}

/// Never ends. As long as a runtime has no timer that is due before a new one, tokio wakes its driver
/// by a system call for each new one; the deadline of each call is one.
async fn pulse() {
    let mut pulse = interval(PULSE);
    loop {
        pulse.tick().await;
    }
}
