//! Single flight: who asks the same with the same credential at the same time shares one request.
//!
//! A flight is a future that its callers poll together: no task is spawned for it, it goes on as
//! long as one of them waits, and the last to leave ends the request.

use std::{
    collections::HashMap,
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    thread::{self, ThreadId},
};

use futures_util::future::{FutureExt as _, Shared, WeakShared};
use tokio::{
    sync::{OnceCell, oneshot},
    time::Instant,
};

use super::{Answer, CredentialId, Error, lock};
use crate::model::{Session, SessionId};

/// What a flight brings home.
pub(super) type Landing = Result<Answer<Arc<Session>>, Error>;

/// What is asked, and by whose right. Nothing is shared under another key.
pub(super) type Key = (CredentialId, SessionId);

/// A request to the vendor. In a box from the start: it is large, and is handed on several times.
pub(super) type Request = Pin<Box<dyn Future<Output = Landing> + Send>>;

/// A request under way, shared.
pub(super) type Flight = Shared<Airborne>;

/// All flights of a process, and the polls that wait for their turn.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    flights: HashMap<Key, Entry>,
    waiting: HashMap<Key, (u64, oneshot::Sender<Flight>)>,
    count: u64,
}

struct Entry {
    number: u64,
    flight: WeakShared<Airborne>,
    /// What the flight is for: a call, with the time its callers have, or a poll.
    bound: Option<Arc<Bound>>,
    /// Where those of each thread wait who have joined it.
    lounges: Vec<(ThreadId, Lounge)>,
}

/// Where one thread's callers wait: one of them for the flight, the others for that one. To wake a
/// caller from another thread costs a system call, so the flight wakes one in each.
type Lounge = Arc<OnceCell<Landing>>;

/// A poll that waits for its turn, or for a call that asks the same.
pub(super) struct Waiting {
    flights: Flights,
    key: Key,
    number: u64,
    next: oneshot::Receiver<Flight>,
}

/// When the last of a flight's callers stops waiting.
#[derive(Debug)]
pub(super) struct Bound(Mutex<Option<Instant>>);

/// A flight, and what it is to the one who asked for it.
pub(super) struct Boarding {
    flight: Flight,
    /// For those who have joined it.
    lounge: Option<Lounge>,
    pub is_poll: bool,
}

impl Boarding {
    /// Whether it was under way already.
    pub fn is_joined(&self) -> bool {
        self.lounge.is_some()
    }

    /// What the flight brings home.
    pub async fn landing(self) -> Landing {
        match self.lounge {
            Some(lounge) => lounge.get_or_init(|| self.flight).await.clone(),
            None => self.flight.await,
        }
    }
}

impl Flights {
    /// The flight under way, or one that begins with `request`.
    pub fn board(
        &self,
        key: Key,
        deadline: Option<Instant>,
        request: impl FnOnce(Arc<Bound>) -> Request,
    ) -> Boarding {
        let mut board = lock(&self.0);
        if let Some(entry) = board.flights.get_mut(&key)
            && let Some(flight) = entry.flight.upgrade()
        {
            if let Some(bound) = &entry.bound {
                bound.extend(deadline);
            }
            let is_poll = entry.bound.is_none();
            return Boarding { flight, lounge: Some(entry.lounge()), is_poll };
        }
        let bound = Arc::new(Bound(Mutex::new(deadline)));
        let flight = self.launch(&mut board, key, Some(bound.clone()), request(bound));
        Boarding { flight, lounge: None, is_poll: false }
    }

    /// For a poll: the flight under way, or else the promise of the next one.
    pub fn board_or_wait(&self, key: &Key) -> Result<Flight, Waiting> {
        let mut board = lock(&self.0);
        if let Some(flight) = board.flights.get(key).and_then(|entry| entry.flight.upgrade()) {
            return Ok(flight);
        }
        board.count += 1;
        let number = board.count;
        let (promise, next) = oneshot::channel();
        board.waiting.insert(key.clone(), (number, promise));
        Err(Waiting { flights: self.clone(), key: key.clone(), number, next })
    }

    /// For a poll whose turn has come.
    pub fn begin(&self, key: Key, request: Request) -> Flight {
        self.launch(&mut lock(&self.0), key, None, request)
    }

    fn launch(
        &self,
        board: &mut Board,
        key: Key,
        bound: Option<Arc<Bound>>,
        request: Request,
    ) -> Flight {
        board.count += 1;
        let number = board.count;
        let end = End { flights: self.clone(), key: key.clone(), number };
        let flight = Airborne { request, _end: end }.shared();
        if let Some(weak) = flight.downgrade() {
            if !board.waiting.is_empty()
                && let Some((_, promise)) = board.waiting.remove(&key)
            {
                // If nobody waits any more: as well.
                let _ = promise.send(flight.clone());
            }
            let entry = Entry { number, flight: weak, bound, lounges: Vec::new() };
            board.flights.insert(key, entry);
        }
        flight
    }
}

impl Entry {
    /// Where the callers of this thread wait.
    fn lounge(&mut self) -> Lounge {
        let here = thread::current().id();
        if let Some((_, lounge)) = self.lounges.iter().find(|(thread, _)| *thread == here) {
            return Arc::clone(lounge);
        }
        let lounge = Lounge::default();
        self.lounges.push((here, Arc::clone(&lounge)));
        lounge
    }
}

impl Waiting {
    /// The next flight, when it begins; never, if another poll took this one's place.
    pub async fn next(&mut self) -> Flight {
        match (&mut self.next).await {
            Ok(flight) => flight,
            Err(_replaced) => pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut board = lock(&self.flights.0);
        if board.waiting.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            board.waiting.remove(&self.key);
        }
    }
}

impl Bound {
    /// When that is, as far as is known by now; nothing if somebody waits as long as it takes.
    pub fn get(&self) -> Option<Instant> {
        *lock(&self.0)
    }

    /// A bound that nobody extends.
    pub fn fixed(deadline: Option<Instant>) -> Self {
        Self(Mutex::new(deadline))
    }

    fn extend(&self, deadline: Option<Instant>) {
        let mut bound = lock(&self.0);
        *bound = bound.zip(deadline).map(|(bound, deadline)| bound.max(deadline));
    }
}

/// A request that is on the board as long as it is under way.
pub(super) struct Airborne {
    request: Request,
    _end: End,
}

impl Future for Airborne {
    type Output = Landing;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Landing> {
        self.request.as_mut().poll(cx)
    }
}

/// Takes a flight off the board when it has landed or everybody has left it.
struct End {
    flights: Flights,
    key: Key,
    number: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut board = lock(&self.flights.0);
        if board.flights.get(&self.key).is_some_and(|entry| entry.number == self.number) {
            board.flights.remove(&self.key);
        }
    }
}
