//! Which session each watched id stands for, so that an answer about another session is noticed in
//! unary calls too.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    credential::CredentialId,
    model::{Identity, SessionId},
};

/// The identities of the sessions that are watched at present. All clones are the same map.
#[derive(Clone, Debug, Default)]
pub struct Identities(Arc<Mutex<HashMap<(CredentialId, SessionId), Identity>>>);

impl Identities {
    /// From now on the session has this identity, if one is known.
    pub fn set(&self, session: (CredentialId, SessionId), identity: Option<Identity>) {
        if let Some(identity) = identity {
            self.0.lock().insert(session, identity);
        }
    }

    /// The session is not watched any more.
    pub fn forget(&self, session: &(CredentialId, SessionId)) {
        self.0.lock().remove(session);
    }

    pub(super) fn get(&self, session: &(CredentialId, SessionId)) -> Option<Identity> {
        self.0.lock().get(session).copied()
    }
}
