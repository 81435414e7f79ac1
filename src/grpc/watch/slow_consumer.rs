//! The slow-consumer detector. It finds watchers that do not read their messages, and cuts them
//! off.
//!
//! While a message waits for the peer's flow-control window, hyper does not poll the stream of
//! messages, so the stream itself cannot notice that it is stuck. Each stream therefore notes since
//! when a message is pending. A message is pending after the stream returned it, or after the
//! stream woke its task, until the next poll. A task of the server checks all streams. If a message
//! has been pending for too long, the task ends the subscription of the stream. If the watcher
//! reads again later, it gets `SLOW_WATCHER`.
//!
//! Time is counted in rounds of that task. It is noted twice for each message of each watcher, and
//! reading the clock would cost more than everything else.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::Stream;
use tonic::Status;

use crate::{feed::Subscriber, grpc::status};

/// No message is pending.
const NONE: u64 = 0;
/// The stream was cut off.
const CUT: u64 = u64::MAX;

/// The number of rounds in the limit.
const ROUNDS: u32 = 12;
/// The shortest time between two rounds.
const SHORTEST: Duration = Duration::from_millis(10);

/// Knows all streams, and since when each has had a message pending. All clones share the streams.
#[derive(Clone, Debug)]
pub struct SlowConsumerDetector {
    limit: Duration,
    /// The number of the current round, from 1.
    round: Arc<AtomicU64>,
    /// Streams that have ended are removed in the next round.
    streams: Arc<Mutex<Vec<Weak<Delivery>>>>,
}

/// What a stream holds and must give up when it is cut off.
pub(in crate::grpc) trait Cut: Send + Sync {
    /// Gives it up.
    fn cut(&self);
}

impl Cut for Subscriber {
    fn cut(&self) {
        self.leave();
    }
}

/// The state of one stream.
struct Delivery {
    /// The round since which a message has been pending, or [`NONE`], or [`CUT`].
    pending_since: AtomicU64,
    round: Arc<AtomicU64>,
    /// Weak, because a stream may keep its waker, which is this.
    owner: Weak<dyn Cut>,
    /// Wakes the task that polls the stream.
    peer: AtomicWaker,
}

impl Delivery {
    fn begin(&self) {
        // Only if nothing is pending. A pending message keeps its round.
        self.replace(NONE, self.round.load(Ordering::Relaxed));
    }

    fn replace(&self, expected: u64, new: u64) -> bool {
        let replaced =
            self.pending_since.compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire);
        replaced.is_ok()
    }
}

impl Wake for Delivery {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.begin();
        self.peer.wake();
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("pending_since", &self.pending_since)
            .finish_non_exhaustive()
    }
}

impl SlowConsumerDetector {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, round: Arc::new(AtomicU64::new(1)), streams: Arc::default() }
    }

    /// Returns the messages as an observed stream.
    pub(super) fn observe<S>(&self, owner: Weak<dyn Cut>, messages: S) -> Observed<S> {
        let delivery = Arc::new(Delivery {
            pending_since: AtomicU64::new(NONE),
            round: self.round.clone(),
            owner,
            peer: AtomicWaker::new(),
        });
        self.streams.lock().push(Arc::downgrade(&delivery));
        Observed { messages, delivery }
    }

    /// Cuts off slow consumers. Runs until it is dropped.
    pub(super) async fn cut(&self) {
        let period = (self.limit / ROUNDS).max(SHORTEST);
        let patience = self.limit.as_nanos().div_ceil(period.as_nanos());
        let patience = u64::try_from(patience).unwrap_or(u64::MAX);
        let mut rounds = interval(period);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
            let mut deliveries = Vec::new();
            self.streams.lock().retain(|stream| {
                let delivery = stream.upgrade();
                let is_open = delivery.is_some();
                deliveries.extend(delivery);
                is_open
            });
            for delivery in deliveries {
                let since = delivery.pending_since.load(Ordering::Acquire);
                let is_pending = since != NONE && since != CUT;
                // The round began before the message was pending. `>` allows one more round, so
                // that no watcher is cut off too early.
                let is_slow = is_pending && round.saturating_sub(since) > patience;
                if is_slow
                    && delivery.replace(since, CUT)
                    && let Some(owner) = delivery.owner.upgrade()
                {
                    owner.cut();
                }
            }
        }
    }
}

pin_project! {
    /// A stream of messages whose delivery is observed.
    pub(in crate::grpc) struct Observed<S> {
        #[pin]
        messages: S,
        delivery: Arc<Delivery>,
    }
}

impl<M, S: Stream<Item = Result<M, Status>>> Stream for Observed<S> {
    type Item = Result<M, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        // A poll shows that the previous message has been taken.
        let before = this.delivery.pending_since.swap(NONE, Ordering::AcqRel);
        if before == CUT {
            this.delivery.pending_since.store(CUT, Ordering::Release);
            return Poll::Ready(Some(Err(status::slow_watcher())));
        }
        this.delivery.peer.register(context.waker());
        let waker = Waker::from(this.delivery.clone());
        let next = this.messages.poll_next(&mut Context::from_waker(&waker));
        if next.is_ready() {
            this.delivery.begin();
        }
        next
    }
}
