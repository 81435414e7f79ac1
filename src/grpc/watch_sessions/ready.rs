//! The queue of the sessions on a stream that may have news. First in, first out, and each session
//! is in it at most once, so no session waits for another that changes often.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::entries::Ticket;

/// The queue of one stream. All clones share it.
#[derive(Clone, Default)]
pub(super) struct Ready(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Ticket>>,
    /// Wakes the task that polls the stream.
    task: AtomicWaker,
}

/// Puts one session into the queue. The poll of the session has it as its waker.
pub(super) struct Bell {
    ticket: Ticket,
    is_queued: AtomicBool,
    ready: Ready,
}

impl Ready {
    /// Wakes this task when the queue is no longer empty.
    pub fn register(&self, task: &Waker) {
        self.0.task.register(task);
    }

    /// Creates the bell of a session.
    pub fn bell(&self, ticket: Ticket) -> Arc<Bell> {
        Arc::new(Bell { ticket, is_queued: AtomicBool::new(false), ready: self.clone() })
    }

    /// Removes the session that has waited longest.
    pub fn pop(&self) -> Option<Ticket> {
        self.0.queue.lock().pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.0.queue.lock().is_empty()
    }

    fn push(&self, ticket: Ticket) {
        let is_first = {
            let mut queue = self.0.queue.lock();
            queue.push_back(ticket);
            queue.len() == 1
        };
        if is_first {
            self.0.task.wake();
        }
    }
}

impl Bell {
    /// Puts the session at the end of the queue, unless it is in the queue.
    pub fn ring(&self) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.ticket);
        }
    }

    /// Notes that the session has left the queue. Must be called before its state is read, so that
    /// no later change is missed.
    pub fn rearm(&self) {
        self.is_queued.store(false, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_in_the_queue_once_and_a_chatty_one_waits_its_turn() {
        let ready = Ready::default();
        let (chatty, other) = (ready.bell(1), ready.bell(2));
        chatty.ring();
        other.ring();
        chatty.ring();
        assert_eq!(ready.pop(), Some(1));
        chatty.rearm();
        chatty.ring();
        assert_eq!(ready.pop(), Some(2));
        assert_eq!(ready.pop(), Some(1));
        assert_eq!(ready.pop(), None);
    }
}
