//! The requests that the feed makes.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    credential::{Credential, CredentialId},
    model::{ListWindow, ListedSession, Session, SessionId},
    trace::Cause,
    traffic::{Client, RequestContext, Urgency, quota::Class},
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

/// Returns a function that reads the vendor's list through `client`.
pub fn list(client: Client) -> Box<List> {
    Box::new(move |ListAsk { credential, window, urgency }, keep| {
        let client = client.clone();
        Box::pin(async move {
            let (class, cause) = (Class::Watch(urgency), Cause::default());
            let answer = client.sweep_sessions(&credential, &window, class, &cause, keep).await?;
            Ok(answer.content.bytes)
        })
    })
}

/// A request for the vendor's list.
#[derive(Clone, Debug)]
pub struct ListAsk {
    /// The credential.
    pub credential: Credential,
    /// The time that the list must cover.
    pub window: ListWindow,
    /// How much the list would tell.
    pub urgency: Urgency,
}

/// Receives each element of the list. If the reply is an error, it has received only a part of the
/// list.
pub type Keep = Box<dyn FnMut(ListedSession) + Send>;

/// The future reply to a request for the list: its size in bytes.
pub type BoxedListReply = Pin<Box<dyn Future<Output = Result<usize, Error>> + Send>>;

/// Asks the vendor for its list.
pub type List = dyn Fn(ListAsk, Keep) -> BoxedListReply + Send + Sync;
