//! Decides whether an answer of the vendor is accepted. No other module decides this.
//!
//! Unary calls, polls, the finished-session cache and resumed watches all use this module. So none
//! of them passes on anything other than the session's own state, such as a maintenance notice, the
//! body of another session, half of a body, or an outdated answer.

use super::{
    digest::{Digest, Identity},
    field::FieldSet,
    history::History,
    session::{Session, SessionId},
    status::Status,
    transition::Progress,
};

/// Why an answer is rejected. Holds nothing of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The answer has no session id, and no text that could be a status.
    #[error("the answer is not a session")]
    NotASession,
    /// The answer has another session id than the answers before it.
    #[error("the answer is another session")]
    OtherSession,
    /// The answer has no status.
    #[error("the answer has no status")]
    NoStatus,
}

/// The result of validating an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// The answer is the session's state.
    Accepted,
    /// The answer shows an earlier status, or lacks something that the session had. A second answer
    /// must confirm it.
    Unconfirmed,
    /// The answer counts as a failure.
    Rejected(Rejection),
}

/// An answer which says that the session cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The vendor does not know the session.
    NotFound,
    /// The vendor, or something in front of it, refuses to show the session.
    Forbidden,
}

/// The content of the accepted answers, with which a new answer is compared.
#[derive(Clone, Copy, Debug)]
pub struct Baseline<'a> {
    /// The digest of the latest accepted answer.
    pub digest: &'a Digest,
    /// The statuses of all accepted answers.
    pub history: &'a History,
    /// The latest accepted answer. `None` if only its digest is known from a resume token.
    pub session: Option<&'a Session>,
}

/// Validates the answers about one session, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Validator {
    /// The identity of the requested text, which may be a session id.
    requested: Option<Identity>,
    identity: Option<Identity>,
    /// The identity in the latest answer. If a session is requested by its token, its id differs
    /// from the token. The id of a wrong session differs from the token too, so a second answer
    /// must confirm the id.
    latest: Option<Identity>,
    unconfirmed: Option<Unconfirmed>,
    absence: Option<Absence>,
}

/// Why the latest answer needs a second one.
#[derive(Clone, Copy, Debug)]
struct Unconfirmed {
    progress: Progress,
    missing: FieldSet,
}

/// Checks one answer by itself. `identity` is the identity of the session, if it is known.
///
/// The vendor may add statuses, so in an answer without a session id any word counts as a status.
/// But if the session is known to have an id, the word is more likely part of an error.
pub fn check(identity: Option<Identity>, answer: &Session) -> Result<(), Rejection> {
    match (identity, Identity::of(answer)) {
        (Some(identity), Some(shown)) if identity != shown => Err(Rejection::OtherSession),
        (Some(_), None) if answer.status() == Status::Unknown => Err(Rejection::NotASession),
        (None, None) if !answer.upstream_status.contains(char::is_alphabetic) => {
            Err(Rejection::NotASession)
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

impl Validator {
    /// A validator for a session that is requested by this id or token. `known` is the content that
    /// a watcher knows already, if there is such a watcher.
    pub fn new(requested: &SessionId, known: Option<&Digest>) -> Self {
        Self {
            requested: Some(Identity::of_id(requested.as_str())),
            identity: known.and_then(Identity::of_digest),
            ..Self::default()
        }
    }

    /// The session's identity, if it is known.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Validates an answer while no other answer has been accepted.
    pub fn validate_first(&mut self, answer: &Session) -> Validation {
        match self.check(answer) {
            Err(rejection) => Validation::Rejected(rejection),
            Ok(()) if Identity::of(answer).is_none() && answer.status() == Status::Unknown => {
                Validation::Rejected(Rejection::NotASession)
            }
            Ok(()) if self.has_right_identity(answer) => Validation::Accepted,
            Ok(()) => Validation::Unconfirmed,
        }
    }

    /// Validates the next answer, whose content is `digest`.
    pub fn validate(
        &mut self,
        baseline: Baseline<'_>,
        answer: &Session,
        digest: &Digest,
    ) -> Validation {
        if let Err(rejection) = self.check(answer) {
            return Validation::Rejected(rejection);
        }
        if !self.has_right_identity(answer) {
            return Validation::Unconfirmed;
        }
        self.note_presence();
        let progress = Progress::of(answer);
        let is_same_status = baseline.history.progress().is_same_status(progress);
        let missing =
            if is_same_status { baseline.missing(answer, digest) } else { FieldSet::NONE };
        let is_behind = baseline.history.is_ahead_of(answer);
        if (is_behind || !missing.is_empty()) && !self.is_confirmed(progress, missing) {
            self.unconfirmed = Some(Unconfirmed { progress, missing });
            return Validation::Unconfirmed;
        }
        self.unconfirmed = None;
        Validation::Accepted
    }

    /// Forgets all unconfirmed answers.
    pub fn clear_unconfirmed(&mut self) {
        *self = Self { requested: self.requested, identity: self.identity, ..Self::default() };
    }

    /// Notes an absence. Returns whether the vendor has said so twice, without showing the session
    /// in between.
    pub fn confirms_absence(&mut self, absence: Absence) -> bool {
        self.absence.replace(absence) == Some(absence)
    }

    /// Notes that an answer showed the session. A later absence then needs a second answer.
    pub fn note_presence(&mut self) {
        self.absence = None;
    }

    fn check(&self, answer: &Session) -> Result<(), Rejection> {
        check(self.identity, answer)?;
        if answer.upstream_status.trim().is_empty() { Err(Rejection::NoStatus) } else { Ok(()) }
    }

    /// Whether the answer's id is the session's, as far as this can be known. It is if it was
    /// requested, or if two answers in a row have it. If so, this remembers the id.
    fn has_right_identity(&mut self, answer: &Session) -> bool {
        let shown = Identity::of(answer);
        let before = std::mem::replace(&mut self.latest, shown);
        if self.identity.is_none() && (shown == self.requested || shown == before) {
            self.identity = shown;
        }
        shown.is_none() || shown == self.identity
    }

    /// Whether the previous answer was unconfirmed for the same reasons.
    fn is_confirmed(&self, progress: Progress, missing: FieldSet) -> bool {
        self.unconfirmed.is_some_and(|before| {
            before.progress.is_same_status(progress) && missing.is_subset_of(before.missing)
        })
    }
}

impl Baseline<'_> {
    /// The fields that the session had and `answer` lacks.
    fn missing(&self, answer: &Session, digest: &Digest) -> FieldSet {
        let missing = digest.absent().without(self.digest.absent());
        let lacks_unknown_field = self.session.is_some_and(|session| {
            let mut names = session.additional_fields.keys();
            names.any(|name| !answer.additional_fields.contains_key(name))
        });
        if lacks_unknown_field { missing.with(FieldSet::ADDITIONAL_FIELDS) } else { missing }
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

    const NOT_A_SESSION: Validation = Validation::Rejected(Rejection::NotASession);
    const OTHER_SESSION: Validation = Validation::Rejected(Rejection::OtherSession);
    const NO_STATUS: Validation = Validation::Rejected(Rejection::NoStatus);

    fn by(requested: &str) -> Validator {
        Validator::new(&requested.parse().unwrap(), None)
    }

    /// The knowledge of a poll after its first answer, and its validator.
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

        fn validate(&mut self, answer: &Session) -> Validation {
            let digest = Digest::of(&self.session);
            let (history, session) = (&self.history, Some(&self.session));
            let baseline = Baseline { digest: &digest, history, session };
            self.validator.validate(baseline, answer, &Digest::of(answer))
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
            assert_eq!(by("250040353").validate_first(&answer), NOT_A_SESSION);
            let mut watched = Watched::beginning_with(session("active"));
            for _ in 0..3 {
                assert_eq!(watched.validate(&answer), NOT_A_SESSION);
            }
        }
        let not_started = Session { upstream_status: "NOT_STARTED".into(), ..Session::default() };
        assert_eq!(check(None, &not_started), Ok(()));
        assert_eq!(check(None, &Session { session_id: "1".into(), ..Session::default() }), Ok(()));
    }

    #[test]
    fn an_id_that_was_not_asked_for_needs_a_second_answer() {
        let other = Session { session_id: "777".to_owned(), ..session("complete") };
        let mut by_token = by("token");
        assert_eq!(by_token.validate_first(&other), Validation::Unconfirmed);
        assert_eq!(by_token.validate_first(&session("active")), Validation::Unconfirmed);
        assert_eq!(by_token.validate_first(&session("active")), Validation::Accepted);
        assert_eq!(by_token.validate_first(&other), OTHER_SESSION);
        let mut by_id = by("250040353");
        assert_eq!(by_id.validate_first(&other), Validation::Unconfirmed);
        assert_eq!(by_id.validate_first(&session("active")), Validation::Accepted);
    }

    #[test]
    fn an_id_that_comes_late_counts_from_then_on() {
        let without_id = Session { session_id: String::new(), ..session("notStarted") };
        let mut watched = Watched::beginning_with(without_id);
        assert_eq!(watched.validate(&session("waiting")), Validation::Accepted);
        let other = Session { session_id: "777".to_owned(), ..session("waiting") };
        assert_eq!(watched.validate(&other), OTHER_SESSION);
    }

    #[test]
    fn an_answer_without_a_status_is_not_believed_in_a_watch() {
        let hollow = Session { upstream_status: " ".to_owned(), ..session("") };
        assert_eq!(by("250040353").validate_first(&hollow), NO_STATUS);
        let mut watched = Watched::beginning_with(session("active"));
        for _ in 0..3 {
            assert_eq!(watched.validate(&hollow), NO_STATUS);
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
            assert_eq!(watched.validate(answer), expected);
        }
        let ended = without(|answer| {
            answer.upstream_status = "complete".to_owned();
            answer.notes = None;
        });
        assert_eq!(
            watched.validate(&ended),
            Validation::Accepted,
            "with a new status it is no slip"
        );
    }

    #[test]
    fn an_absence_needs_a_second_of_its_kind_with_no_session_in_between() {
        let mut watched = Watched::beginning_with(session("active"));
        assert!(!watched.validator.confirms_absence(Absence::NotFound));
        assert!(!watched.validator.confirms_absence(Absence::Forbidden));
        assert!(watched.validator.confirms_absence(Absence::Forbidden));
        assert!(!watched.validator.confirms_absence(Absence::NotFound));
        watched.validate(&session("active"));
        assert!(!watched.validator.confirms_absence(Absence::NotFound));
        assert!(watched.validator.confirms_absence(Absence::NotFound));
    }
}
