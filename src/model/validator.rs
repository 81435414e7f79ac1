//! Whether an answer of the vendor is believed: the only place that decides it.
//!
//! Unary calls, polls, the finished-session cache and resumed watches all ask here, so that none of
//! them tells what is not the session's own state: a maintenance notice, the body of another
//! session, half of a body, or an answer that is out of date.

use super::{Digest, FieldSet, History, Progress, Session, SessionId, Status};

/// Tells sessions apart without naming them: a fingerprint of the vendor's session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub(super) u32);

/// Why an answer is not believed, whatever follows. Holds nothing of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It has no session id, and no status that could be one.
    #[error("the answer is not a session")]
    NotASession,
    /// It has another session id than the answers before it.
    #[error("the answer is another session")]
    OtherSession,
    /// It has no status.
    #[error("the answer has no status")]
    NoStatus,
}

/// What to make of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It is the session's state.
    Accepted,
    /// It shows an earlier status, or lacks what the session had. The next answer decides.
    Unconfirmed,
    /// It is as good as no answer.
    Rejected(Rejection),
}

/// An answer that says the session is not there to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The vendor does not know it.
    NotFound,
    /// The vendor, or something in front of it, refuses to show it.
    Forbidden,
}

/// What an answer is compared with: what is known from answers that were believed.
#[derive(Clone, Copy, Debug)]
pub struct Baseline<'a> {
    /// The content of the latest.
    pub digest: &'a Digest,
    /// The statuses of all.
    pub history: &'a History,
    /// The latest itself, if it is here and not only in a resume token.
    pub session: Option<&'a Session>,
}

/// Validates the answers about one session, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Validator {
    /// That of the text by which the session is asked for, in case that is its id.
    asked_for: Option<Identity>,
    identity: Option<Identity>,
    /// What the latest answer showed, if that is neither known nor what was asked for: asked for
    /// by a token, a session has another id, but so has a body of another session.
    claimed: Option<Identity>,
    doubt: Option<Doubt>,
    absence: Option<Absence>,
}

/// A doubtful answer, which a second one must confirm.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    progress: Progress,
    vanished: FieldSet,
}

/// Checks one answer by itself. `identity` is that of the session, if it is known.
///
/// The set of statuses is open, so without a session id any word is taken for one; but not once the
/// session is known to have an id, for then the word is more likely an error's.
pub fn check(identity: Option<Identity>, answer: &Session) -> Result<(), Rejection> {
    match (identity, Identity::of(answer)) {
        (Some(identity), Some(shown)) if identity != shown => Err(Rejection::OtherSession),
        (Some(_), None) if answer.status() == Status::Unknown => Err(Rejection::NotASession),
        (None, None) if !is_word(&answer.upstream_status) => Err(Rejection::NotASession),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

fn is_word(status: &str) -> bool {
    status.contains(char::is_alphabetic)
}

impl Identity {
    /// The identity of a session, if it has an id.
    pub fn of(session: &Session) -> Option<Self> {
        (!session.session_id.is_empty()).then(|| Digest::identity(&session.session_id))
    }
}

impl Validator {
    /// For the session that is asked for by `asked_for`, of which a watcher may know this content.
    pub fn new(asked_for: &SessionId, known: Option<&Digest>) -> Self {
        Self {
            asked_for: Some(Digest::identity(asked_for.as_str())),
            identity: known.and_then(Digest::shown_identity),
            ..Self::default()
        }
    }

    /// The session's identity, once an answer had an id.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Judges an answer before any other is believed.
    pub fn judge_first(&mut self, answer: &Session) -> Validation {
        match self.check(answer) {
            Err(rejection) => Validation::Rejected(rejection),
            Ok(()) if Identity::of(answer).is_none() && answer.status() == Status::Unknown => {
                Validation::Rejected(Rejection::NotASession)
            }
            Ok(()) if self.identifies(answer) => Validation::Accepted,
            Ok(()) => Validation::Unconfirmed,
        }
    }

    /// Judges the next answer, whose content is `digest`.
    pub fn judge(
        &mut self,
        baseline: Baseline<'_>,
        answer: &Session,
        digest: &Digest,
    ) -> Validation {
        if let Err(rejection) = self.check(answer) {
            return Validation::Rejected(rejection);
        }
        if !self.identifies(answer) {
            return Validation::Unconfirmed;
        }
        self.doubt_absence();
        let progress = Progress::of(answer);
        let is_same_status = baseline.history.progress().is_same_status(progress);
        let vanished =
            if is_same_status { baseline.vanished(answer, digest) } else { FieldSet::NONE };
        let is_behind = baseline.history.is_ahead_of(answer);
        if (is_behind || !vanished.is_empty()) && !self.is_confirmed(progress, vanished) {
            self.doubt = Some(Doubt { progress, vanished });
            return Validation::Unconfirmed;
        }
        self.doubt = None;
        Validation::Accepted
    }

    /// Nothing is doubtful any more.
    pub fn settle(&mut self) {
        *self = Self { asked_for: self.asked_for, identity: self.identity, ..Self::default() };
    }

    /// Whether the vendor has said so twice, with no session in between.
    pub fn confirms_absence(&mut self, absence: Absence) -> bool {
        self.absence.replace(absence) == Some(absence)
    }

    /// The session was seen: if the vendor says next that it is absent, that needs a second answer.
    pub fn doubt_absence(&mut self) {
        self.absence = None;
    }

    fn check(&self, answer: &Session) -> Result<(), Rejection> {
        check(self.identity, answer)?;
        if answer.upstream_status.trim().is_empty() { Err(Rejection::NoStatus) } else { Ok(()) }
    }

    /// Whether the answer's id is the session's, as far as can be known: it is what was asked for,
    /// or two answers have it. Learns it if so.
    fn identifies(&mut self, answer: &Session) -> bool {
        let shown = Identity::of(answer);
        let claimed = std::mem::replace(&mut self.claimed, shown);
        if self.identity.is_none() && (shown == self.asked_for || shown == claimed) {
            self.identity = shown;
        }
        shown.is_none() || shown == self.identity
    }

    /// Whether the answer before was doubtful for the same reasons.
    fn is_confirmed(&self, progress: Progress, vanished: FieldSet) -> bool {
        self.doubt.is_some_and(|doubt| {
            doubt.progress.is_same_status(progress) && vanished.is_subset_of(doubt.vanished)
        })
    }
}

impl Baseline<'_> {
    /// The fields that the session had and `answer` lacks.
    fn vanished(&self, answer: &Session, digest: &Digest) -> FieldSet {
        let vanished = digest.absent().without(self.digest.absent());
        let lacks_unknown_field = self.session.is_some_and(|session| {
            let mut names = session.additional_fields.keys();
            names.any(|name| !answer.additional_fields.contains_key(name))
        });
        if lacks_unknown_field { vanished.with(FieldSet::ADDITIONAL_FIELDS) } else { vanished }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(status: &str) -> Session {
        Session {
            session_id: "250040353".to_owned(),
            upstream_status: status.to_owned(),
            expert_name: Some("E".to_owned()),
            notes: Some("n".to_owned()),
            ..Session::default()
        }
    }

    /// What a poll knows after `first`, and its validator.
    struct Watched {
        validator: Validator,
        session: Session,
        history: History,
    }

    impl Watched {
        fn beginning_with(first: Session) -> Self {
            Self {
                validator: Validator::new(&"250040353".parse().unwrap(), Some(&Digest::of(&first))),
                history: History::starting_with(&first),
                session: first,
            }
        }

        fn judge(&mut self, answer: &Session) -> Validation {
            let digest = Digest::of(&self.session);
            let (history, session) = (&self.history, Some(&self.session));
            let baseline = Baseline { digest: &digest, history, session };
            self.validator.judge(baseline, answer, &Digest::of(answer))
        }
    }

    #[test]
    fn what_is_not_a_session_is_never_believed() {
        let nothing = Session::default();
        let code = Session { upstream_status: "503".to_owned(), ..Session::default() };
        let notice = Session { upstream_status: "error".to_owned(), ..Session::default() };
        assert_eq!(check(None, &nothing), Err(Rejection::NotASession));
        assert_eq!(check(None, &code), Err(Rejection::NotASession));
        assert_eq!(check(None, &notice), Ok(()), "it could be a new status");
        for answer in [nothing, code, notice] {
            let mut first = Validator::new(&"250040353".parse().unwrap(), None);
            let expected = Validation::Rejected(Rejection::NotASession);
            assert_eq!(first.judge_first(&answer), expected);
            let mut watched = Watched::beginning_with(session("active"));
            for _ in 0..3 {
                let validation = watched.judge(&answer);
                assert_eq!(validation, Validation::Rejected(Rejection::NotASession));
            }
        }
        let not_started = Session { upstream_status: "NOT_STARTED".into(), ..Session::default() };
        assert_eq!(check(None, &not_started), Ok(()));
        assert_eq!(check(None, &Session { session_id: "1".into(), ..Session::default() }), Ok(()));
    }

    #[test]
    fn another_session_is_never_believed() {
        let other = Session { session_id: "777".to_owned(), ..session("complete") };
        let mut watched = Watched::beginning_with(session("active"));
        for _ in 0..3 {
            let validation = watched.judge(&other);
            assert_eq!(validation, Validation::Rejected(Rejection::OtherSession));
        }
        assert_eq!(watched.judge(&session("active")), Validation::Accepted);
    }

    #[test]
    fn an_id_that_was_not_asked_for_needs_a_second_answer() {
        let other = Session { session_id: "777".to_owned(), ..session("complete") };
        let mut by_token = Validator::new(&"token".parse().unwrap(), None);
        assert_eq!(by_token.judge_first(&other), Validation::Unconfirmed);
        assert_eq!(by_token.judge_first(&session("active")), Validation::Unconfirmed);
        assert_eq!(by_token.judge_first(&session("active")), Validation::Accepted);
        let validation = by_token.judge_first(&other);
        assert_eq!(validation, Validation::Rejected(Rejection::OtherSession));
        let mut by_id = Validator::new(&"250040353".parse().unwrap(), None);
        assert_eq!(by_id.judge_first(&other), Validation::Unconfirmed);
        assert_eq!(by_id.judge_first(&session("active")), Validation::Accepted);
    }

    #[test]
    fn an_id_that_comes_late_counts_from_then_on() {
        let without_id = Session { session_id: String::new(), ..session("notStarted") };
        let mut watched = Watched::beginning_with(without_id);
        assert_eq!(watched.judge(&session("waiting")), Validation::Accepted);
        let other = Session { session_id: "777".to_owned(), ..session("waiting") };
        let validation = watched.judge(&other);
        assert_eq!(validation, Validation::Rejected(Rejection::OtherSession));
    }

    #[test]
    fn an_answer_without_a_status_is_not_believed_in_a_watch() {
        let hollow = Session { upstream_status: " ".to_owned(), ..session("") };
        let mut first = Validator::new(&"250040353".parse().unwrap(), None);
        assert_eq!(first.judge_first(&hollow), Validation::Rejected(Rejection::NoStatus));
        let mut watched = Watched::beginning_with(session("active"));
        for _ in 0..3 {
            assert_eq!(watched.judge(&hollow), Validation::Rejected(Rejection::NoStatus));
        }
    }

    #[test]
    fn a_field_that_vanishes_needs_a_second_answer_that_lacks_it_too() {
        let mut full = session("active");
        full.additional_fields.insert("token".to_owned(), super::super::Value::Bool(true));
        let without = |alter: fn(&mut Session)| {
            let mut answer = full.clone();
            alter(&mut answer);
            answer
        };
        let half = without(|answer| answer.expert_name = None);
        let other_half = without(|answer| answer.notes = None);
        let no_token = without(|answer| answer.additional_fields.clear());
        let mut watched = Watched::beginning_with(full.clone());
        for (answer, expected) in [
            (&half, Validation::Unconfirmed),
            (&full, Validation::Accepted),
            (&half, Validation::Unconfirmed),
            (&other_half, Validation::Unconfirmed),
            (&other_half, Validation::Accepted),
            (&no_token, Validation::Unconfirmed),
            (&no_token, Validation::Accepted),
        ] {
            assert_eq!(watched.judge(answer), expected);
        }
        let ended = without(|answer| {
            answer.upstream_status = "complete".to_owned();
            answer.notes = None;
        });
        assert_eq!(watched.judge(&ended), Validation::Accepted, "with a new status it is no slip");
    }

    #[test]
    fn an_earlier_status_needs_a_second_answer() {
        let mut watched = Watched::beginning_with(session("active"));
        assert_eq!(watched.judge(&session("waiting")), Validation::Unconfirmed);
        assert_eq!(watched.judge(&session("active")), Validation::Accepted);
        assert_eq!(watched.judge(&session("waiting")), Validation::Unconfirmed);
        assert_eq!(watched.judge(&session("notStarted")), Validation::Unconfirmed);
        assert_eq!(watched.judge(&session("notStarted")), Validation::Accepted);
    }

    #[test]
    fn an_absence_needs_a_second_of_its_kind_with_no_session_in_between() {
        let mut watched = Watched::beginning_with(session("active"));
        assert!(!watched.validator.confirms_absence(Absence::NotFound));
        assert!(!watched.validator.confirms_absence(Absence::Forbidden));
        assert!(watched.validator.confirms_absence(Absence::Forbidden));
        assert!(!watched.validator.confirms_absence(Absence::NotFound));
        watched.judge(&session("active"));
        assert!(!watched.validator.confirms_absence(Absence::NotFound));
        assert!(watched.validator.confirms_absence(Absence::NotFound));
    }
}
