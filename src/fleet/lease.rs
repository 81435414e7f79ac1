//! The permits of one replica, and its questions to the account. It is pure: the caller passes the
//! time.
//!
//! Why the sum over all replicas stays within the quota:
//!
//! - The account never lets these exceed the quota together: the requests of the latest window, the
//!   permits that replicas may still use, and the shares of replicas that may go on alone.
//! - A permit ends [`VALID`] after its question was **sent**, by the monotonic clock of the replica.
//!   The account got the question later than that, so it waits longer. A process that was paused
//!   finds its permits ended. What the replica used, it reports with the next question.
//! - A replica goes on alone [`ALONE_AFTER`](super::ALONE_AFTER) after it sent the latest question
//!   that was answered in time. With each question it says when that was. The account keeps its
//!   share free from a moment on at which the permits of others can still end, and a window can
//!   pass, before the replica begins.
//! - A question carries the time at which it is void, so that an old question changes nothing.
//! - Redis may have lost what it granted. An account that is new grants nothing for a window, and a
//!   replica asks for nothing for a window after it has connected. An account that was restored from
//!   an old copy knows fewer answers than its replicas, and counts as new.
//! - An account that is new keeps the whole quota free for the shares of replicas that it does not
//!   know, except for those that report their share.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};

use super::{
    account::{AccountError, Answer, Question, Terms, Verdict},
    alone::Alone,
    budget::{Demand, Permit},
    limit::{Limit, SLACK, TIMELY, VALID},
    pace::{count, seconds},
    settings::Identity,
    uses::{Use, Uses},
};

/// A permit ends earlier by this, for clocks that run at different speeds.
const MARGIN: Duration = Duration::from_millis(10);

/// How long the dispatcher sleeps while it has no permit. An answer wakes it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// After this time without an answer in time, the replica counts as cut off.
const CUT_OFF_AFTER: Duration = Duration::from_millis(900);

/// After a late answer, so many answers in time in a row count as one. A Redis that is sometimes
/// too slow is of less use than none.
const STEADY: usize = 4;

/// How a replica stands in its fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Whether Redis answers in time. Otherwise the replica goes on alone with its share.
    pub is_joined: bool,
    /// The requests per second of the replica while it goes on alone. 0 before the first answer of
    /// Redis, and after the longest time that it may be alone.
    pub share: f64,
    /// The replicas that the account knew at last, with the silent ones.
    pub replicas: usize,
    /// The replicas whose share is kept free, because they do not call.
    pub silent: usize,
    /// Why the latest question failed.
    pub failure: Option<AccountError>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lease {
    limit: Limit,
    /// When each permit ends, the earliest first.
    permits: VecDeque<Instant>,
    uses: Uses,
    alone: Alone,
    terms: Terms,
    /// The latest question, and when it was sent.
    asked: (u64, Instant),
    /// The number of the latest question whose answer is known.
    answered: u64,
    /// The latest time of the server, and when its answer came.
    server_time: Option<(u64, Instant)>,
    /// The latest answers that came in time, since one did not.
    in_time: usize,
    asks_from: Instant,
    connection: Option<u64>,
    retry_at: Option<Instant>,
    paused_until: Option<Instant>,
    /// Whether the vendor answered 429, and the account may not know it: since the latest question,
    /// and before it.
    slow_downs: (bool, bool),
    good_answers: u64,
    waiting: usize,
    failure: Option<AccountError>,
    has_left: bool,
    /// Tells the task that permits are wanted.
    wanted: Arc<Notify>,
}

impl Lease {
    pub fn new(limit: Limit, alone_limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            permits: VecDeque::new(),
            uses: Uses::default(),
            alone: Alone::new(limit, alone_limit, now),
            terms: Terms { rate: limit.rps, ..Terms::default() },
            asked: (0, now),
            answered: 0,
            server_time: None,
            in_time: STEADY,
            asks_from: now,
            connection: None,
            retry_at: None,
            paused_until: None,
            slow_downs: (false, false),
            good_answers: 0,
            waiting: 0,
            failure: None,
            has_left: false,
            wanted: Arc::default(),
        }
    }

    pub fn wanted(&self) -> Arc<Notify> {
        self.wanted.clone()
    }

    pub fn ready_at(&mut self, now: Instant) -> Instant {
        self.prune(now);
        let open = self.paused_until.unwrap_or(now).max(now);
        if open > now || self.has_left {
            return open.max(now + LOOK_AGAIN);
        }
        if self.alone.has_begun(now) {
            return self.alone.pace(now).map_or(now + LOOK_AGAIN, |pace| pace.ready_at(now));
        }
        let is_full = self.uses.within(self.limit.window(), now) >= self.limit.most();
        if self.permits.is_empty() || is_full {
            self.wanted.notify_one();
            return now + LOOK_AGAIN;
        }
        now
    }

    pub fn predict(&mut self, nth: usize, now: Instant) -> Instant {
        self.prune(now);
        if let Some(pace) = self.alone.pace(now) {
            return pace.predict(nth, now);
        }
        let Some(after) = nth.checked_sub(self.permits.len() + 1) else { return now };
        let waiting = count(self.waiting.max(nth));
        let rate = self.terms.rate * waiting / (waiting + count(self.terms.waiting_elsewhere));
        let open = [self.retry_at, self.paused_until].into_iter().flatten().fold(now, Instant::max);
        open + seconds(count(after) / rate.max(0.001))
    }

    pub fn take(&mut self, now: Instant) -> Permit {
        let permit_until = match self.alone.pace(now) {
            Some(pace) => {
                pace.take(now);
                None
            }
            None => Some(self.permits.pop_front().unwrap_or(now)),
        };
        self.uses.push(Use { at: now, permit_until });
        if self.permits.is_empty() {
            self.wanted.notify_one();
        }
        let until = now + SLACK;
        Permit::until(permit_until.map_or(until, |permit| until.min(permit)))
    }

    /// A use that was reported stays a use.
    pub fn give_back(&mut self, at: Instant, now: Instant) {
        if self.asked.0 > 0 && at <= self.asked.1 {
            return;
        }
        if let Some(one) = self.uses.remove(at) {
            match one.permit_until {
                Some(until) if until > now => self.permits.push_front(until),
                Some(_) => {}
                None => self.alone.give_back(at, now),
            }
        }
    }

    pub fn slow_down(&mut self, retry_after: Option<Duration>, now: Instant) {
        let pause = self.alone.slow_down(retry_after, now);
        self.slow_downs.0 = true;
        if !pause.is_zero() {
            self.paused_until = self.paused_until.max(Some(now + pause));
        }
        self.wanted.notify_one();
    }

    pub fn speed_up(&mut self, now: Instant) {
        self.alone.speed_up(now);
        self.good_answers += 1;
    }

    pub fn rate(&self, now: Instant) -> f64 {
        if self.alone.has_begun(now) { self.alone.rate(now) } else { self.terms.rate }
    }

    pub fn used(&self, now: Instant) -> usize {
        self.uses.within(Duration::from_secs(1), now)
    }

    pub fn pause(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.duration_since(now))
    }

    pub fn standing(&self, now: Instant) -> Standing {
        Standing {
            is_joined: self.alone.is_confirmed_within(CUT_OFF_AFTER, now),
            share: self.alone.rate(now),
            replicas: self.terms.replicas,
            silent: self.terms.silent,
            failure: self.failure,
        }
    }

    /// When to ask again, if requests wait that got no permit.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.waiting > 0)
    }

    /// The next question, which is sent now.
    pub fn question(&mut self, identity: &Identity, demand: Demand, now: Instant) -> Question {
        self.prune(now);
        let pause = self.pause(now);
        let before = self.permits.len();
        let keeps = pause.is_zero() && !self.has_left;
        self.permits.retain(|until| keeps && *until >= now + VALID / 2);
        let asks = self.connection.is_some()
            && self.in_time > 0
            && !self.alone.has_begun(now)
            && now >= self.asks_from;
        let demand = if asks { demand } else { Demand::default() };
        self.waiting = demand.unary + demand.hinted + demand.routine;
        self.asked = (self.asked.0 + 1, now);
        self.slow_downs = (false, self.slow_downs.0 || self.slow_downs.1);
        let void = |(time, at)| time + micros(now.duration_since(at) + TIMELY);
        Question {
            identity: identity.clone(),
            number: self.asked.0,
            answered: self.answered,
            confirmed: self.alone.confirmed(),
            expires: self.server_time.map(void),
            rps: self.limit.rps,
            burst: self.limit.burst,
            held: self.permits.len(),
            held_for: self.permits.back().map_or(Duration::ZERO, |until| until.duration_since(now)),
            returned: before - self.permits.len(),
            demand,
            slow_down: self.slow_downs.1.then_some(pause),
            good_answers: std::mem::take(&mut self.good_answers),
            leaves: self.has_left,
            epoch: self.terms.epoch,
            serial: self.terms.serial,
            share: self.alone.share(now),
            fresh: fastrand::u64(1..1 << 48),
            asks,
            uses: self.uses.ages(now),
        }
    }

    /// Records the answer to the latest question.
    pub fn answer(&mut self, answer: &Answer, now: Instant) {
        let (number, sent) = self.asked;
        let took = now.duration_since(sent);
        self.server_time = Some((answer.time, now));
        if self.connection.replace(answer.connection) != Some(answer.connection) {
            self.asks_from = now + VALID + self.limit.window();
        }
        let is_in_time = took <= TIMELY;
        self.in_time = if is_in_time { self.in_time + 1 } else { 0 };
        self.failure = (!is_in_time).then_some(AccountError::Timeout);
        match answer.verdict {
            Verdict::Accepted(terms) => {
                self.answered = number;
                self.slow_downs.1 = false;
                self.alone.note_known(sent);
                if self.in_time >= STEADY {
                    self.alone.confirm(sent, answer.time.saturating_sub(micros(took)));
                } else if self.alone.confirmed().is_none() {
                    // Redis is slow from the beginning. This is as if a question was sent now.
                    self.alone.confirm(now, answer.time);
                }
                self.accept(terms, sent, now);
            }
            Verdict::TooLate { is_known } => {
                self.failed(AccountError::Timeout);
                if is_known {
                    self.alone.note_known(sent);
                }
            }
        }
    }

    fn accept(&mut self, terms: Terms, sent: Instant, now: Instant) {
        self.terms = terms;
        self.retry_at = Some(now + terms.retry);
        self.waiting = self.waiting.saturating_sub(terms.granted);
        if !terms.pause.is_zero() {
            self.paused_until = self.paused_until.max(Some(now + terms.pause));
        }
        self.alone.set_share(terms.share, &self.uses, now);
        let until = sent + VALID - MARGIN;
        if until > now {
            let granted = terms.granted.min(self.limit.most());
            self.permits.extend(std::iter::repeat_n(until, granted));
        }
    }

    /// Records that a question got no answer.
    pub fn failed(&mut self, error: AccountError) {
        self.in_time = 0;
        self.failure = Some(error);
    }

    /// Gives everything back with the next question.
    pub fn leave(&mut self) {
        self.has_left = true;
    }

    pub fn has_left(&self) -> bool {
        self.has_left
    }

    fn prune(&mut self, now: Instant) {
        self.permits.retain(|until| *until > now);
        self.uses.prune(self.limit.longest_window(), now);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
