//! The requests that the feed makes.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    credential::{Credential, CredentialId},
    model::{Session, SessionId},
    trace::Cause,
    traffic::{Client, RequestContext, Urgency},
    wire::{Answer, Error},
};

/// A session and the credential to read it with. Two credentials share nothing.
#[derive(Clone, Debug)]
pub struct Key {
    /// The credential.
    pub credential: Credential,
    /// The session.
    pub session: SessionId,
}

impl Key {
    pub(super) fn index(&self) -> (CredentialId, SessionId) {
        (self.credential.id(), self.session.clone())
    }
}

/// The two kinds of requests for a session.
#[derive(Clone, Debug)]
pub enum Ask {
    /// For the first answer of a watch. A caller waits for it, as in a unary call.
    First(RequestContext),
    /// For the next answer of a poll.
    Next(Urgency, Cause),
}

/// The vendor's reply.
pub type Reply = Result<Answer<Arc<Session>>, Error>;

/// The future reply of an in-flight request.
pub type BoxedReply = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Returns a function that asks the vendor through `client`.
pub fn read(client: Client) -> impl Fn(Key, Ask) -> BoxedReply + Send + Sync {
    move |Key { credential, session }, ask| {
        let client = client.clone();
        Box::pin(async move {
            match ask {
                Ask::First(context) => client.session(&credential, &session, context).await,
                Ask::Next(urgency, cause) => {
                    client.poll_session(&credential, &session, urgency, &cause).await
                }
            }
        })
    }
}

/// Asks the vendor.
pub(super) type Read = dyn Fn(Key, Ask) -> BoxedReply + Send + Sync;
