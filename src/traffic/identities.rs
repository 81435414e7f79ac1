//! The identity of the session behind each watched id. With it, unary calls also detect an answer
//! about another session.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    credential::CredentialId,
    model::{Identity, SessionId},
};

/// The identities of the watched sessions. All clones share one map.
#[derive(Clone, Debug, Default)]
pub struct Identities(Arc<Mutex<HashMap<(CredentialId, SessionId), Identity>>>);

impl Identities {
    /// Sets the identity of the session, if it is known.
    pub fn set(&self, session: (CredentialId, SessionId), identity: Option<Identity>) {
        if let Some(identity) = identity {
            self.0.lock().insert(session, identity);
        }
    }

    /// Forgets a session that is no longer watched.
    pub fn forget(&self, session: &(CredentialId, SessionId)) {
        self.0.lock().remove(session);
    }

    pub(super) fn get(&self, session: &(CredentialId, SessionId)) -> Option<Identity> {
        self.0.lock().get(session).copied()
    }
}
