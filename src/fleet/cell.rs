//! A value that the replicas share through Redis. It is sealed, so that only a holder of the fleet's
//! key can read or replace it.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use futures_util::future::BoxFuture;
use ring::hmac;
use secrecy::zeroize::Zeroizing;

use super::{
    account::AccountError,
    metric, milliseconds,
    seal::{self, Seal},
};
use crate::credential::token::share::{CLAIM, Claim, Place, Unreachable};

/// The script of a cell.
pub const SCRIPT: &str = include_str!("cell.lua");

/// A value that nobody replaces is forgotten after this time. The vendor's refresh tokens live as
/// long.
const LIFETIME: Duration = Duration::from_hours(24 * 30);

/// Runs the script with these arguments.
pub type Run =
    Arc<dyn Fn(Vec<Vec<u8>>) -> BoxFuture<'static, Result<Reply, AccountError>> + Send + Sync>;

/// What the script answers: a number, the value, and its age in milliseconds.
#[derive(Debug, Default)]
pub struct Reply {
    /// The number of the claim, or whether the value was stored.
    pub number: u64,
    /// The sealed value. Empty if there is none.
    pub value: Vec<u8>,
    /// Its age in milliseconds.
    pub age: u64,
}

/// A shared value.
pub struct Cell {
    run: Run,
    seal: Seal,
    name: String,
    replica: String,
    has_warned: AtomicBool,
}

impl Cell {
    /// The cell with this name. `key` is the key of the fleet, and `replica` the name of this replica.
    pub fn new(run: Run, key: &hmac::Key, name: &str, replica: &str) -> Option<Self> {
        let seal = Seal::new(key, format!("gotoassist-grpc fleet cell 1 {name}").as_bytes())?;
        let (name, replica) = (name.to_owned(), replica.to_owned());
        Some(Self { run, seal, name, replica, has_warned: AtomicBool::new(false) })
    }

    async fn ask(&self, action: &str, more: Vec<Vec<u8>>) -> Result<Reply, Unreachable> {
        let mut arguments = vec![action.into(), self.replica.clone().into_bytes()];
        arguments.extend(more);
        (self.run)(arguments).await.map_err(|error| {
            metric::count_failure(error);
            Unreachable
        })
    }

    /// Opens a value. `None` if no replica of this fleet has written it.
    fn open(&self, sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        let value = self.seal.open(&self.name, sealed);
        if value.is_none() {
            seal::warn_once(&self.has_warned);
        }
        value
    }
}

impl Place for Cell {
    fn claim(&self) -> BoxFuture<'_, Result<Claim, Unreachable>> {
        Box::pin(async {
            let reply = self.ask("claim", vec![milliseconds(CLAIM)]).await?;
            let number = Some(reply.number).filter(|number| *number > 0);
            let sealed = Some(reply.value).filter(|sealed| !sealed.is_empty());
            let value = sealed.and_then(|sealed| self.open(sealed));
            let value = value.map(|value| (value, Duration::from_millis(reply.age)));
            Ok(Claim { value, number })
        })
    }

    fn replace(
        &self,
        claim: u64,
        value: Zeroizing<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move {
            let sealed = self.seal.close(&self.name, &value).ok_or(Unreachable)?;
            let more = vec![claim.to_string().into(), sealed, milliseconds(LIFETIME)];
            self.ask("replace", more).await.map(drop)
        })
    }

    fn release(&self, claim: u64) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move { self.ask("release", vec![claim.to_string().into()]).await.map(drop) })
    }
}
