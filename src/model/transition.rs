//! The status changes between two answers of the vendor, including those that no answer showed.

use super::{
    session::Session,
    status::{Status, letters},
    time::UtcTime,
};

/// One change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The status before.
    pub from: Status,
    /// The status after.
    pub to: Status,
    /// When it happened, by the vendor's timestamps. `None` if the vendor gave none. If this
    /// timestamp is earlier than the time of the transition before, it is replaced by that time.
    pub occurred_at: Option<UtcTime>,
    /// Whether this was not observed. Then no answer showed the status `to`, but a later status
    /// implies it, or the vendor's timestamp was out of order.
    pub inferred: bool,
}

/// How far a session has come, as far as a watcher or a poll knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The latest status.
    pub status: Status,
    /// A hash of the status. It also distinguishes the undocumented statuses, which are all
    /// [`Status::Unknown`]. It is the same in every release.
    pub mark: u32,
    /// The highest rank among the statuses that the answers showed or the vendor's timestamps
    /// imply. 0 if there is no rank.
    pub furthest: u8,
}

impl Progress {
    /// The progress that `session` shows.
    pub fn of(session: &Session) -> Self {
        let status = session.status();
        let passed = [Status::Waiting, Status::Active]
            .into_iter()
            .filter(|passed| has_passed(*passed, session))
            .filter_map(Status::rank)
            .max();
        let furthest = status.rank().or(passed).unwrap_or_default();
        Self { status, mark: mark(status, &session.upstream_status), furthest }
    }

    /// The progress of a session that passes through `status`.
    pub(super) fn at(status: Status) -> Self {
        let furthest = status.rank().unwrap_or_default();
        Self { status, mark: mark(status, ""), furthest }
    }

    /// The progress after an answer that shows `session`.
    #[must_use]
    pub fn after(self, session: &Session) -> Self {
        let next = Self::of(session);
        if next.status == Status::Unknown {
            return Self { furthest: next.furthest.max(self.furthest), ..next };
        }
        next
    }

    /// Whether `session` is behind this progress, as an outdated answer is: it has a status of
    /// lower rank, or it has no status although there was one.
    ///
    /// Two more rules are for statuses without rank. Nothing follows a final status. After an
    /// unknown status, the status before it is also behind.
    pub fn is_ahead_of(self, session: &Session) -> bool {
        if self.is_same_status(Self::of(session)) {
            return false;
        }
        match session.status().rank() {
            Some(rank) if self.status == Status::Unknown => rank <= self.furthest,
            Some(rank) => rank < self.furthest,
            None => self.is_over() || session.upstream_status.is_empty(),
        }
    }

    /// Whether the session is over.
    pub fn is_over(self) -> bool {
        Some(self.furthest) == Status::Complete.rank()
    }

    /// Whether both have the same status.
    pub fn is_same_status(self, other: Self) -> bool {
        self.mark == other.mark
    }

    /// Every status change from this progress to `session`, oldest first. If no answer showed a
    /// change, but the status of `session` implies it, the change is inferred.
    pub fn transitions_to(self, session: &Session) -> Vec<Transition> {
        let target = Self::of(session);
        if self.is_same_status(target) {
            return Vec::new();
        }
        let mut from = self.status;
        let mut transitions = Vec::new();
        for passed in [Status::Waiting, Status::Active] {
            let occurred_at = occurred_at(passed, session);
            // If no rank is known yet, only a timestamp shows that this status came later.
            let is_known = self.furthest > 0 || occurred_at.is_some();
            let is_new = passed.rank() > Some(self.furthest);
            if is_known && is_new && has_passed(passed, session) {
                transitions.push(Transition { from, to: passed, occurred_at, inferred: true });
                from = passed;
            }
        }
        let occurred_at =
            if self.is_ahead_of(session) { None } else { occurred_at(target.status, session) };
        transitions.push(Transition { from, to: target.status, occurred_at, inferred: false });
        put_in_order(&mut transitions, None);
        transitions
    }
}

/// Whether a session must have had the status `earlier` before. Its status implies this, or the
/// vendor's timestamps do if the status has no rank.
fn has_passed(earlier: Status, session: &Session) -> bool {
    match session.status() {
        Status::Unknown => occurred_at(earlier, session).is_some(),
        status => status.implies(earlier),
    }
}

/// When a session got a status, by the vendor's timestamps.
fn occurred_at(status: Status, session: &Session) -> Option<UtcTime> {
    match status {
        Status::Waiting => session.started_at,
        Status::Active => session.customer_joined_at,
        Status::Complete | Status::Abandoned => session.ended_at,
        Status::NotStarted | Status::Unknown => None,
    }
}

/// Makes the times of the transitions ascend: a time that is earlier than the time before it is
/// replaced by that time. No transition may be earlier than `floor`.
pub(super) fn put_in_order(transitions: &mut [Transition], mut floor: Option<UtcTime>) {
    for transition in transitions {
        if transition.occurred_at.is_some() && transition.occurred_at < floor {
            transition.occurred_at = floor;
            transition.inferred = true;
        }
        floor = floor.max(transition.occurred_at);
    }
}

/// A hash of the status: of its name if it is documented, otherwise of the vendor's text without
/// letter case and separators. Resume tokens hold this hash, so it is FNV-1a, which never changes.
fn mark(status: Status, upstream_status: &str) -> u32 {
    let add = |hash: u32, letter: char| {
        let mut buffer = [0; 4];
        let bytes = letter.encode_utf8(&mut buffer).bytes();
        bytes.fold(hash, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    };
    let beginning = 0x811c_9dc5;
    match status {
        Status::Unknown => letters(upstream_status).fold(beginning, add),
        named => named.name().chars().fold(beginning, add),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(status: &str) -> Session {
        Session { upstream_status: status.to_owned(), ..Session::default() }
    }

    fn at(second: i64) -> UtcTime {
        jiff::Timestamp::from_second(second).unwrap().into()
    }

    fn path(transitions: &[Transition]) -> Vec<Status> {
        transitions.iter().map(|step| step.to).collect()
    }

    #[test]
    fn what_a_status_implies_is_inferred_at_the_vendors_time() {
        let complete = Session {
            started_at: Some(at(1)),
            customer_joined_at: Some(at(2)),
            ended_at: Some(at(3)),
            ..session("complete")
        };
        let steps = Progress::of(&session("notStarted")).transitions_to(&complete);
        assert_eq!(path(&steps), [Status::Waiting, Status::Active, Status::Complete]);
        assert_eq!(
            steps.iter().map(|step| (step.occurred_at, step.inferred)).collect::<Vec<_>>(),
            [(Some(at(1)), true), (Some(at(2)), true), (Some(at(3)), false)]
        );
    }

    #[test]
    fn abandoned_implies_no_customer() {
        let steps = Progress::of(&session("notStarted")).transitions_to(&session("abandoned"));
        assert_eq!(path(&steps), [Status::Waiting, Status::Abandoned]);
    }

    #[test]
    fn a_step_back_has_no_time() {
        let waiting = Session { started_at: Some(at(1)), ..session("waiting") };
        let steps = Progress::of(&session("active")).transitions_to(&waiting);
        assert_eq!(path(&steps), [Status::Waiting]);
        assert_eq!(steps[0].occurred_at, None);
    }

    #[test]
    fn a_status_without_rank_is_placed_by_the_vendors_timestamps() {
        let paused = Session { customer_joined_at: Some(at(2)), ..session("paused") };
        let steps = Progress::of(&session("waiting")).transitions_to(&paused);
        assert_eq!(path(&steps), [Status::Active, Status::Unknown]);
        let steps = Progress::of(&paused).transitions_to(&session("complete"));
        assert_eq!(path(&steps), [Status::Complete], "the session was active before");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// An outdated answer is detected.
        #[test]
        fn an_earlier_status_is_noticed(place in 1_usize..4, back in 1_usize..4) {
            let life = ["notStarted", "waiting", "active", "complete"];
            let known = Progress::of(&session(life[place]));
            let earlier = session(life[place.saturating_sub(back)]);
            prop_assert!(known.is_ahead_of(&earlier));
            prop_assert!(!known.is_ahead_of(&session(life[place])));
        }
    }

    #[test]
    fn no_status_at_all_is_behind_any() {
        assert!(Progress::of(&session("waiting")).is_ahead_of(&session("")));
        assert!(!Progress::of(&session("")).is_ahead_of(&session("")));
    }
}
