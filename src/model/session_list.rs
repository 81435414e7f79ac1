//! The vendor's list of sessions: the window that it is asked for, an element of it, and how an
//! element compares with the session's own answer.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};

use jiff::Timestamp;

use super::{
    session::Session,
    status::{Status, letters},
    time::UtcTime,
};

/// The time that a list covers. The vendor does not document with which time of a session it
/// compares the window; it is probably the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListWindow {
    /// The beginning. A fraction of a second is dropped in the request.
    pub from: Timestamp,
    /// The end. A fraction of a second is rounded up in the request.
    pub to: Timestamp,
}

/// A session as the list shows it. The list lacks notes, collaborators, the unattended machine and
/// the name of the account. A session that has not started may have no id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListedSession {
    /// The fields that the list has. The start token is in the additional fields too.
    pub session: Session,
    /// The token by which a session without an id is known, with its digits exactly as sent.
    pub start_token: Option<String>,
}

/// How an element of the list compares with the latest answer about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// The list shows an earlier status, so it is out of date.
    Earlier,
    /// The list shows nothing new.
    Same,
    /// The list shows something that the answer does not, so the session has probably changed.
    Different,
}

/// What the list shows of a session, in a form that can be compared.
#[derive(PartialEq, Hash)]
struct Listed<'a> {
    status: Status,
    times: [Option<UtcTime>; 3],
    texts: [Option<&'a str>; 11],
}

impl<'a> Listed<'a> {
    fn of(session: &'a Session) -> Self {
        Self {
            status: session.status(),
            times: [session.started_at, session.customer_joined_at, session.ended_at],
            texts: [
                Some(session.session_id.as_str()).filter(|id| !id.is_empty()),
                Some(session.account_key.as_str()).filter(|key| !key.is_empty()),
                session.expert_name.as_deref(),
                session.expert_email.as_deref(),
                session.expert_user_key.as_deref(),
                session.partner_object.as_deref(),
                session.partner_object_url.as_deref(),
                session.customer_name.as_deref(),
                session.customer_email.as_deref(),
                session.customer_join_url.as_deref(),
                session.session_recording_url.as_deref(),
            ],
        }
    }
}

impl ListedSession {
    /// A fingerprint of what the list shows. It is equal as long as the list shows the same.
    pub fn fingerprint(&self) -> u64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        hasher.hash_one((Listed::of(&self.session), &self.session.upstream_status))
    }

    /// Compares the element with the latest answer about the session. A field that the list lacks is
    /// no difference.
    pub fn compared_with(&self, answer: &Session) -> Comparison {
        let (listed, known) = (Listed::of(&self.session), Listed::of(answer));
        match (listed.status.rank(), known.status.rank()) {
            (Some(listed), Some(known)) if listed < known => return Comparison::Earlier,
            (Some(_), Some(_)) if listed.status != known.status => return Comparison::Different,
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => {
                let status = &self.session.upstream_status;
                if !letters(status).eq(letters(&answer.upstream_status)) {
                    return Comparison::Different;
                }
            }
        }
        let is_new = listed.times.iter().zip(&known.times).any(differs)
            || listed.texts.iter().zip(&known.texts).any(differs);
        if is_new { Comparison::Different } else { Comparison::Same }
    }
}

fn differs<T: PartialEq>((listed, known): (&Option<T>, &Option<T>)) -> bool {
    listed.is_some() && listed != known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(status: &str) -> Session {
        Session {
            session_id: "1".to_owned(),
            upstream_status: status.to_owned(),
            notes: Some("only in the answer".to_owned()),
            expert_name: Some("Ann".to_owned()),
            ..Session::default()
        }
    }

    fn listed(session: Session) -> ListedSession {
        ListedSession { session, start_token: None }
    }

    #[test]
    fn only_what_the_list_shows_in_addition_is_a_difference() {
        for (list, answer, comparison) in [
            ("waiting", "waiting", Comparison::Same),
            ("WAITING", "waiting", Comparison::Same),
            ("active", "waiting", Comparison::Different),
            ("waiting", "active", Comparison::Earlier),
            ("abandoned", "complete", Comparison::Different),
            ("paused", "active", Comparison::Different),
            ("active", "paused", Comparison::Different),
            ("paused", "Paused", Comparison::Same),
        ] {
            let element = listed(Session { notes: None, ..session(list) });
            assert_eq!(element.compared_with(&session(answer)), comparison, "{list} {answer}");
        }
        let absent = listed(Session { expert_name: None, ..session("active") });
        assert_eq!(absent.compared_with(&session("active")), Comparison::Same);
        let other = Session { expert_name: Some("Bob".to_owned()), ..session("active") };
        assert_eq!(listed(other).compared_with(&session("active")), Comparison::Different);
        let ended = Session { ended_at: UtcTime::from_nanoseconds(1), ..session("active") };
        assert_eq!(listed(ended).compared_with(&session("active")), Comparison::Different);
    }

    #[test]
    fn the_fingerprint_tells_elements_apart() {
        let active = listed(session("active"));
        assert_eq!(active.fingerprint(), listed(session("active")).fingerprint());
        assert_ne!(active.fingerprint(), listed(session("complete")).fingerprint());
        assert_ne!(listed(session("a")).fingerprint(), listed(session("b")).fingerprint());
        let joined = Session { customer_name: Some("Cy".to_owned()), ..session("active") };
        assert_ne!(active.fingerprint(), listed(joined).fingerprint());
    }
}
