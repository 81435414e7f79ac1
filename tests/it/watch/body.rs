//! Bodies that look valid but are not, and bodies that look wrong but are valid.

use gotoassist_grpc::model::Session;

/// `{}`, or a maintenance notice.
pub fn nothing(session: &mut Session) {
    *session = Session::default();
}

/// An error that has some fields of a session.
pub fn notice(session: &mut Session) {
    *session = Session { upstream_status: "error".to_owned(), ..Session::default() };
}

/// Another session of another customer. It is over.
pub fn foreign(session: &mut Session) {
    *session = Session {
        session_id: "777".to_owned(),
        upstream_status: "complete".to_owned(),
        customer_name: Some("A Stranger".to_owned()),
        notes: Some("strange".to_owned()),
        ..Session::default()
    };
}

/// The id, and no status.
pub fn hollow(session: &mut Session) {
    *session = Session { session_id: session.session_id.clone(), ..Session::default() };
}

/// Only an id and a status.
pub fn half(session: &mut Session) {
    *session = Session {
        session_id: session.session_id.clone(),
        upstream_status: session.upstream_status.clone(),
        ..Session::default()
    };
}

/// The status in another spelling.
pub fn loud(session: &mut Session) {
    session.upstream_status = session.upstream_status.to_uppercase();
}
