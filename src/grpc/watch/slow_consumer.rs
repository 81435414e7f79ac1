//! Finds watchers that do not read their messages, and cuts them off.
//!
//! While a message waits for the peer's flow-control window, nobody polls the stream behind it, so
//! the stream cannot notice by itself that it is stuck. Each stream therefore notes since when a message
//! is pending: it was handed out, or its waker was called and nobody came to fetch it. A task of the
//! server goes round all streams, and ends the subscription of those with a message that is pending for
//! too long. When such a watcher reads on, it gets `SLOW_WATCHER`.
//!
//! Time is counted in rounds: it is noted twice for each message of each watcher, and reading the clock
//! would cost more than the rest.

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

use crate::{feed::Subscriber, grpc::status, proto::encoded::EncodedWatchResponse};

/// No message is pending.
const NONE: u64 = 0;
/// The stream was cut off.
const CUT: u64 = u64::MAX;

/// Into how many rounds the limit is divided.
const ROUNDS: u32 = 12;
/// The shortest time between two rounds.
const SHORTEST: Duration = Duration::from_millis(10);

/// Knows all streams, and for how long each has had a message pending. Clones are one.
#[derive(Clone, Debug)]
pub struct SlowConsumerDetector {
    limit: Duration,
    /// The number of the present round, from 1.
    round: Arc<AtomicU64>,
    /// Streams that have ended are removed in the next round.
    streams: Arc<Mutex<Vec<Weak<Delivery>>>>,
}

/// The state of one stream.
struct Delivery {
    /// The round since when a message is pending; or [`NONE`], or [`CUT`].
    pending_since: AtomicU64,
    round: Arc<AtomicU64>,
    subscriber: Arc<Subscriber>,
    /// Wakes whoever polls the stream.
    peer: AtomicWaker,
}

impl Delivery {
    fn begin(&self) {
        // Only the first time: what is pending stays pending since then.
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

    /// The same messages, observed.
    pub(super) fn observe<S>(&self, subscriber: Arc<Subscriber>, messages: S) -> Observed<S> {
        let delivery = Arc::new(Delivery {
            pending_since: AtomicU64::new(NONE),
            round: self.round.clone(),
            subscriber,
            peer: AtomicWaker::new(),
        });
        self.streams.lock().push(Arc::downgrade(&delivery));
        Observed { messages, delivery }
    }

    /// Cuts off those that are too slow. Runs until dropped.
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
                // The round had begun before the message was pending, so one more: none is cut too soon.
                let is_slow = is_pending && round.saturating_sub(since) > patience;
                if is_slow && delivery.replace(since, CUT) {
                    delivery.subscriber.leave();
                }
            }
        }
    }
}

pin_project! {
    /// Messages whose delivery is observed.
    pub(super) struct Observed<S> {
        #[pin]
        messages: S,
        delivery: Arc<Delivery>,
    }
}

impl<S: Stream<Item = Result<EncodedWatchResponse, Status>>> Stream for Observed<S> {
    type Item = Result<EncodedWatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        // Being polled means that what was handed out before has been taken.
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
