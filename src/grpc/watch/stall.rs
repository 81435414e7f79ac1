//! Watchers who do not take their messages.
//!
//! While a message waits for the peer's flow-control window, nobody polls the stream behind it, so
//! the stream cannot notice by itself that it is stuck. Each marks when it handed out a message, or
//! had one and woke whoever should fetch it; a task of the server looks for marks that have grown
//! old, and takes the place in front of the poll from whoever left them. When such a watcher reads
//! on, it gets `SLOW_WATCHER`.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;
use tokio::time::{Instant, interval};
use tokio_stream::Stream;
use tonic::Status;

use super::Frame;
use crate::{feed::Seat, grpc::status};

/// The mark of a stream that has nothing to hand out, or whose message was taken.
const FLOWING: u64 = 0;
/// The mark of a stream that was cut off.
const CUT: u64 = u64::MAX;

/// All streams, and how long each has been stuck.
#[derive(Clone, Debug)]
pub struct Stalls {
    limit: Duration,
    start: Instant,
    marks: Arc<Mutex<Marks>>,
}

#[derive(Debug, Default)]
struct Marks {
    next: u64,
    by_number: HashMap<u64, Weak<Mark>>,
}

struct Mark {
    /// Milliseconds since the start, plus one, when there was a message that has not been taken
    /// yet; or [`FLOWING`], or [`CUT`].
    since: AtomicU64,
    start: Instant,
    seat: Arc<Seat>,
    /// Who polls the stream.
    peer: AtomicWaker,
}

impl Mark {
    fn begin(&self) {
        let now = milliseconds(self.start);
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
        Self { limit, start: Instant::now(), marks: Arc::default() }
    }

    /// The same messages, with an eye on whether they are taken.
    pub(super) fn observe<S>(&self, seat: Arc<Seat>, messages: S) -> Observed<S> {
        let mark = Arc::new(Mark {
            since: AtomicU64::new(FLOWING),
            start: self.start,
            seat,
            peer: AtomicWaker::new(),
        });
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let number = marks.next;
        marks.next += 1;
        marks.by_number.insert(number, Arc::downgrade(&mark));
        drop(marks);
        let registration = Registration { number, marks: self.marks.clone() };
        Observed { messages, mark, registration }
    }

    /// Looks for stuck streams, until dropped.
    pub(super) async fn cut(&self) {
        let mut rounds = interval((self.limit / 12).max(Duration::from_millis(10)));
        loop {
            rounds.tick().await;
            let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            let marks: Vec<_> = marks.by_number.values().filter_map(Weak::upgrade).collect();
            for mark in marks {
                let since = mark.since.load(Ordering::Acquire);
                let is_stuck = since != FLOWING && since != CUT;
                let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
                if is_stuck && milliseconds(self.start).saturating_sub(since) >= limit {
                    let cut = mark.since.compare_exchange(
                        since,
                        CUT,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                    if cut.is_ok() {
                        mark.seat.vacate();
                    }
                }
            }
        }
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX - 2) + 1
}

/// Takes the stream off the list when it is dropped.
struct Registration {
    number: u64,
    marks: Arc<Mutex<Marks>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
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

impl<S: Stream<Item = Result<Frame, Status>>> Stream for Observed<S> {
    type Item = Result<Frame, Status>;

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
