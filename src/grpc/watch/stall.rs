//! Watchers who do not take their messages.
//!
//! While a message waits for the peer's flow-control window, nobody polls the stream behind it, so
//! the stream cannot notice by itself that it is stuck. Each marks when it handed out a message, or
//! had one and woke whoever should fetch it; a task of the server makes rounds and looks for marks
//! that have grown old, and ends the subscription of whoever left them. When such a
//! watcher reads on, it gets `SLOW_WATCHER`.
//!
//! Age is counted in rounds: a mark is made twice for each message of each watcher, and to look at
//! the clock would cost more than the mark.

use std::{
    collections::HashMap,
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

/// The mark of a stream that has nothing to hand out, or whose message was taken.
const FLOWING: u64 = 0;
/// The mark of a stream that was cut off.
const CUT: u64 = u64::MAX;

/// Into how many rounds the limit is divided.
const ROUNDS: u32 = 12;
/// The shortest time between two rounds.
const SHORTEST: Duration = Duration::from_millis(10);

/// All streams, and how long each has been stuck.
#[derive(Clone, Debug)]
pub struct Stalls {
    limit: Duration,
    /// The number of the present round, from 1.
    round: Arc<AtomicU64>,
    marks: Arc<Mutex<Marks>>,
}

#[derive(Debug, Default)]
struct Marks {
    next: u64,
    by_number: HashMap<u64, Weak<Mark>>,
}

struct Mark {
    /// The round when there was a message that has not been taken yet; or [`FLOWING`], or [`CUT`].
    since: AtomicU64,
    round: Arc<AtomicU64>,
    subscriber: Arc<Subscriber>,
    /// Who polls the stream.
    peer: AtomicWaker,
}

impl Mark {
    fn begin(&self) {
        let now = self.round.load(Ordering::Relaxed);
        // Only from flowing: what has waited already waits since then.
        let _ = self.since.compare_exchange(FLOWING, now, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.begin();
        self.peer.wake();
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mark").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Stalls {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, round: Arc::new(AtomicU64::new(1)), marks: Arc::default() }
    }

    /// The same messages, with an eye on whether they are taken.
    pub(super) fn observe<S>(&self, subscriber: Arc<Subscriber>, messages: S) -> Observed<S> {
        let mark = Arc::new(Mark {
            since: AtomicU64::new(FLOWING),
            round: self.round.clone(),
            subscriber,
            peer: AtomicWaker::new(),
        });
        let mut marks = self.marks.lock();
        let number = marks.next;
        marks.next += 1;
        marks.by_number.insert(number, Arc::downgrade(&mark));
        drop(marks);
        let registration = Registration { number, marks: self.marks.clone() };
        Observed { messages, mark, registration }
    }

    /// Looks for stuck streams, until dropped.
    pub(super) async fn cut(&self) {
        let period = (self.limit / ROUNDS).max(SHORTEST);
        let patience = self.limit.as_nanos().div_ceil(period.as_nanos());
        let patience = u64::try_from(patience).unwrap_or(u64::MAX);
        let mut rounds = interval(period);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
            let marks = self.marks.lock();
            let marks: Vec<_> = marks.by_number.values().filter_map(Weak::upgrade).collect();
            for mark in marks {
                let since = mark.since.load(Ordering::Acquire);
                let is_stuck = since != FLOWING && since != CUT;
                // The round of the mark had begun before it, so one more; and none is ever short.
                if is_stuck && round.saturating_sub(since) > patience {
                    let cut = mark.since.compare_exchange(
                        since,
                        CUT,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                    if cut.is_ok() {
                        mark.subscriber.leave();
                    }
                }
            }
        }
    }
}

/// Takes the stream off the list when it is dropped.
struct Registration {
    number: u64,
    marks: Arc<Mutex<Marks>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut marks = self.marks.lock();
        marks.by_number.remove(&self.number);
    }
}

pin_project! {
    /// Messages with an eye on whether they are taken.
    pub(super) struct Observed<S> {
        #[pin]
        messages: S,
        mark: Arc<Mark>,
        registration: Registration,
    }
}

impl<S: Stream<Item = Result<EncodedWatchResponse, Status>>> Stream for Observed<S> {
    type Item = Result<EncodedWatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        // Being polled means that what was handed out before has been taken.
        let before = this.mark.since.swap(FLOWING, Ordering::AcqRel);
        if before == CUT {
            this.mark.since.store(CUT, Ordering::Release);
            return Poll::Ready(Some(Err(status::slow_watcher())));
        }
        this.mark.peer.register(context.waker());
        let waker = Waker::from(this.mark.clone());
        let next = this.messages.poll_next(&mut Context::from_waker(&waker));
        if next.is_ready() {
            this.mark.begin();
        }
        next
    }
}
