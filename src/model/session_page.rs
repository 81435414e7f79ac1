//! A page of the list of sessions. It is collected from sessions that come in any order, and holds no
//! more of them than the page has.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use ring::digest::{Context, SHA256};

use super::{
    digest::Digest,
    field::{Content, named_fields},
    session::{Collaborator, Session},
    session_list::{ListWindow, ListedSession},
    status::Status,
    time::UtcTime,
    value::{Fields, Value},
};

/// How long before now the default window begins, and how long after now it ends. Clocks differ.
const DEFAULT_BEFORE: SignedDuration = SignedDuration::from_hours(24);
const DEFAULT_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// The most bytes that the sessions of one page take as messages. gRPC clients accept messages of
/// 4 MiB by default.
const PAGE_LIMIT: usize = 3 * 1024 * 1024;

/// Which sessions of the list a page has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListQuery {
    /// The beginning of the window. `None` means 24 hours ago.
    pub from: Option<Timestamp>,
    /// The end of the window. `None` means a minute from now.
    pub to: Option<Timestamp>,
    /// Which statuses the sessions have.
    pub statuses: StatusSet,
    /// The most sessions on the page.
    pub page_size: usize,
    /// The last session of the page before.
    pub after: Option<Position>,
}

/// Some statuses. Without any, it stands for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatusSet(u8);

/// The place of a session in the order of the pages: by the time of its start, then by its id.
///
/// Sessions without a start come last. Of the same start, sessions without an id come last, in the
/// order of a hash. It holds no start token, since whoever has it can see the session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// In nanoseconds since the beginning of 1970, or [`Position::NOT_STARTED`].
    pub started_at: i128,
    /// What tells apart sessions of the same start.
    pub key: Key,
}

/// The second part of a [`Position`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The session's id.
    Id(String),
    /// A hash of the start token, or of the whole session if it has no start token either.
    Hash([u8; 16]),
}

/// A page of the list.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// The window that the list covered.
    pub window: ListWindow,
    /// The sessions, in order.
    pub sessions: Vec<ListedSession>,
    /// The last session of this page, if there are more after it.
    pub last: Option<Position>,
}

/// Collects a page.
pub struct PageCollector<'a> {
    query: &'a ListQuery,
    sessions: BTreeMap<Position, ListedSession>,
    size: usize,
    /// The first session that is known not to be on the page because it is full.
    end: Option<Position>,
}

impl ListQuery {
    /// The window of the query at this time.
    pub fn window(&self, now: Timestamp) -> ListWindow {
        let saturating = |by| now.saturating_add(by).unwrap_or(now);
        ListWindow {
            from: self.from.unwrap_or_else(|| saturating(-DEFAULT_BEFORE)),
            to: self.to.unwrap_or_else(|| saturating(DEFAULT_AFTER)),
        }
    }
}

impl StatusSet {
    /// Whether a status is among them.
    pub fn contains(self, status: Status) -> bool {
        self.0 == 0 || self.0 & Self::from_iter([status]).0 != 0
    }

    /// A number for each set.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromIterator<Status> for StatusSet {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Self {
        Self(statuses.into_iter().fold(0, |set, status| set | 1 << status as u8))
    }
}

impl Position {
    /// The start of a session that has not started.
    pub const NOT_STARTED: i128 = i128::MAX;

    /// The position of a session.
    pub fn of(listed: &ListedSession) -> Self {
        let ListedSession { session, start_token, .. } = listed;
        let started_at = session.started_at.map_or(Self::NOT_STARTED, UtcTime::nanoseconds);
        let key = match start_token {
            _ if !session.session_id.is_empty() => Key::Id(session.session_id.clone()),
            Some(token) => Key::of(token.as_bytes()),
            None => Key::of(&Digest::of(session).content),
        };
        Self { started_at, key }
    }
}

impl Key {
    fn of(bytes: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(bytes);
        let mut hash = [0; 16];
        hash.copy_from_slice(&context.finish().as_ref()[..16]);
        Self::Hash(hash)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl<'a> PageCollector<'a> {
    /// Begins with an empty page.
    pub fn new(query: &'a ListQuery) -> Self {
        Self { query, sessions: BTreeMap::new(), size: 0, end: None }
    }

    /// Takes a session if it is on the page, as far as is known.
    pub fn add(&mut self, listed: ListedSession) {
        let ListQuery { statuses, after, page_size, .. } = self.query;
        if !statuses.contains(listed.session.status()) {
            return;
        }
        let position = Position::of(&listed);
        let is_before = after.as_ref().is_some_and(|after| position <= *after);
        let is_behind = self.end.as_ref().is_some_and(|end| position >= *end);
        if is_before || is_behind {
            return;
        }
        self.size += size(&listed.session);
        if let Some(replaced) = self.sessions.insert(position, listed) {
            self.size -= size(&replaced.session);
        }
        while self.sessions.len() > (*page_size).max(1)
            || (self.size > PAGE_LIMIT && self.sessions.len() > 1)
        {
            let Some((position, listed)) = self.sessions.pop_last() else { return };
            self.size -= size(&listed.session);
            self.end = Some(position);
        }
    }

    /// The page, once all sessions of the list were added.
    pub fn page(self, window: ListWindow) -> SessionPage {
        let last = self.sessions.last_key_value().map(|(position, _)| position.clone());
        let last = last.filter(|_| self.end.is_some());
        SessionPage { window, sessions: self.sessions.into_values().collect(), last }
    }
}

/// The most bytes that a session takes as a message.
fn size(session: &Session) -> usize {
    let fields = named_fields(session).into_iter().map(|(_, content)| match content {
        Content::Number(_) => FIELD,
        Content::Text(text) => FIELD + text.map_or(0, str::len),
        Content::Time(_) => FIELD + 2 * FIELD,
        Content::Collaborators(all) => all.iter().map(collaborator_size).sum(),
        Content::Fields(fields) => fields_size(fields),
    });
    fields.sum()
}

fn collaborator_size(collaborator: &Collaborator) -> usize {
    let Collaborator { name, email, user_key, additional_fields } = collaborator;
    let texts: usize = [name, email, user_key].into_iter().map(|text| FIELD + text.len()).sum();
    FIELD + texts + fields_size(additional_fields)
}

fn fields_size(fields: &Fields) -> usize {
    let entry = |(name, value): (&String, &Value)| 2 * FIELD + name.len() + value_size(value);
    FIELD + fields.iter().map(entry).sum::<usize>()
}

fn value_size(value: &Value) -> usize {
    FIELD
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => FIELD,
            Value::Text(text) => FIELD + text.len(),
            Value::List(values) => FIELD + values.iter().map(value_size).sum::<usize>(),
            Value::Object(fields) => fields_size(fields),
        }
}

/// The most bytes of the tag and the length of a field, or of the tag and a number.
const FIELD: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed((start, id, status, size): (u8, u8, u8, usize)) -> ListedSession {
        let status = Status::ALL[usize::from(status) % Status::ALL.len()];
        let is_named = !id.is_multiple_of(3);
        let session = Session {
            session_id: if is_named { id.to_string() } else { String::new() },
            upstream_status: status.name().to_owned(),
            started_at: (start > 0).then(|| UtcTime::from_nanoseconds(start.into()).unwrap()),
            notes: Some("x".repeat(size)),
            ..Session::default()
        };
        ListedSession { session, start_token: Some(id.to_string()) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// However long the pages are, together they are the list in order.
        #[test]
        fn pages_are_the_list_in_order(
            sessions in prop::collection::vec(
                (0_u8..4, any::<u8>(), 0_u8..6, prop::sample::select(vec![0, PAGE_LIMIT / 3])), 0..40),
            page_size in 1_usize..10,
            statuses in prop::collection::vec(0_usize..Status::ALL.len(), 0..4),
        ) {
            let statuses = statuses.into_iter().map(|index| Status::ALL[index]).collect();
            let sessions: Vec<_> = sessions.into_iter().map(listed).collect();
            let mut expected = BTreeMap::new();
            for listed in &sessions {
                if StatusSet::contains(statuses, listed.session.status()) {
                    expected.insert(Position::of(listed), listed.clone());
                }
            }
            let window = ListWindow { from: Timestamp::MIN, to: Timestamp::MAX };
            let mut query = ListQuery { from: None, to: None, statuses, page_size, after: None };
            let mut seen = Vec::new();
            loop {
                let mut collector = PageCollector::new(&query);
                for listed in &sessions {
                    collector.add(listed.clone());
                }
                let page = collector.page(window);
                prop_assert!(page.sessions.len() <= page_size);
                let size: usize =
                    page.sessions.iter().map(|listed| super::size(&listed.session)).sum();
                prop_assert!(size <= PAGE_LIMIT || page.sessions.len() == 1);
                seen.extend(page.sessions);
                query.after = page.last;
                if query.after.is_none() {
                    break;
                }
            }
            let keys = |all: &[ListedSession]| all.iter().map(Position::of).collect::<Vec<_>>();
            let expected: Vec<_> = expected.into_values().collect();
            prop_assert_eq!(keys(&seen), keys(&expected));
        }
    }

    #[test]
    fn sessions_without_a_start_or_an_id_come_last() {
        let order =
            [(1, 1, 0, 0), (1, 2, 0, 0), (1, 3, 0, 0), (2, 1, 0, 0), (0, 1, 0, 0), (0, 3, 0, 0)];
        let positions = order.map(|session| Position::of(&listed(session)));
        assert!(positions.is_sorted(), "{positions:?}");
    }
}
