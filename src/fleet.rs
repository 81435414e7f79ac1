//! Makes several replicas of the service one client of the vendor. There are two kinds of fleet: a
//! process on its own, which is the default, and replicas that share a quota through Redis. Modules
//! above use both in the same way.
//!
//! `budget` is the part of the quota that this process may use. `pace` is the budget of a process
//! on its own. `lease` is the budget of a replica: it holds permits for a fraction of a second, and
//! explains why the sum over all replicas stays within the quota. `alone` is its right to go on
//! without Redis. `member` is the task that asks for permits. `account` is the format of its
//! questions and answers. `quota.lua` runs in Redis and grants the permits. `cell` is a value that
//! the replicas share, such as the service's token, and `cell.lua` keeps it. `polls` lets one replica
//! poll a session for all. Only `redis` knows the protocol of Redis.

pub mod account;
mod alone;
pub(crate) mod budget;
pub mod cell;
mod lease;
mod limit;
mod member;
mod metric;
mod pace;
pub mod polls;
mod redis;
mod seal;
mod settings;
mod uses;

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

use ring::hmac;

use account::Account;
use budget::{Budget, Start};
pub use budget::{Demand, Permit};
use cell::Cell;
use lease::Lease;
pub use lease::Standing;
pub use limit::ALONE_AFTER;
use limit::Limit;
use polls::SharedPolls;
use settings::Settings;
pub use settings::{Identity, SetUpError};

use crate::{clock::Clock, config::FleetConfig, credential::token::share::Place};

/// The replicas that share the vendor's quota. Cheap to clone.
#[derive(Clone, Default)]
pub struct Fleet(Option<Arc<Shared>>);

struct Shared {
    account: Account,
    identity: Identity,
    /// How to reach Redis for more than the account. Tests without Redis have none.
    settings: Option<Settings>,
    /// The lease of the quota, once there is one.
    lease: Mutex<Option<Arc<Mutex<Lease>>>>,
}

impl Fleet {
    /// A process on its own.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Replicas that share the account of their quota.
    pub fn sharing(account: Account, identity: Identity) -> Self {
        Self::reached_by(None, account, identity)
    }

    fn reached_by(settings: Option<Settings>, account: Account, identity: Identity) -> Self {
        metric::describe();
        Self(Some(Arc::new(Shared { account, identity, settings, lease: Mutex::default() })))
    }

    /// The fleet of the configuration. `address` distinguishes the replicas of a machine. Connects
    /// later.
    pub fn new(config: &FleetConfig, address: &str) -> Result<Self, SetUpError> {
        let Some(settings) = settings::read(config)? else { return Ok(Self::alone()) };
        let identity = Identity::of_process(address, config.fleet_alone_limit);
        let account = redis::account(&settings)?;
        Ok(Self::reached_by(Some(settings), account, identity))
    }

    /// Where the replicas share the token of this client of the vendor. `None` for a process on its
    /// own.
    pub fn token_place(&self, client_id: &str) -> Result<Option<Arc<dyn Place>>, SetUpError> {
        let Some(Shared { settings: Some(settings), identity, .. }) = self.0.as_deref() else {
            return Ok(None);
        };
        let client = hmac::sign(&settings.key, format!("client {client_id}").as_bytes());
        let name = format!("token:{}", settings::hex(client.as_ref()));
        let process = format!("{:x}", identity.incarnation);
        let cell = Cell::new(redis::cell(settings, &name)?, &settings.key, &name, &process);
        Ok(cell.map(|cell| Arc::new(cell) as Arc<dyn Place>))
    }

    /// The polls that the replicas share. `scope` names the vendor's API and the service's own client.
    pub fn polls(&self, scope: String, clock: Clock) -> Result<SharedPolls, SetUpError> {
        let Some(Shared { settings: Some(settings), identity, .. }) = self.0.as_deref() else {
            return Ok(SharedPolls::default());
        };
        let (store, prefix) = (redis::store(settings)?, settings.key_of("polls"));
        let (key, process) = (settings.key.clone(), identity.incarnation);
        Ok(SharedPolls::new(store, prefix, key, scope, process, clock))
    }

    /// Returns everything that [`Fleet::new`] would refuse.
    pub fn problem(config: &FleetConfig) -> Option<SetUpError> {
        let settings = settings::read(config);
        settings.and_then(|settings| settings.as_ref().map(redis::account).transpose()).err()
    }

    /// Whether there may be other replicas.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the budget of this process, and for a replica the start of its task.
    pub(crate) fn budget(&self, rps: f64, burst: u32) -> (Budget, Option<Start>) {
        let now = tokio::time::Instant::now();
        let Some(shared) = &self.0 else { return (Budget::own(rps, burst, now), None) };
        let lease = Lease::new(Limit { rps, burst }, shared.identity.alone_limit, now);
        let lease = Arc::new(Mutex::new(lease));
        *shared.lease.lock() = Some(lease.clone());
        let start = Start::new(lease.clone(), shared.account.clone(), shared.identity.clone());
        (Budget::leased(lease), Some(start))
    }

    /// How this replica stands in the fleet. `None` for a process on its own.
    pub fn standing(&self) -> Option<Standing> {
        let lease = self.0.as_ref()?.lease.lock().clone()?;
        let standing = lease.lock().standing(tokio::time::Instant::now());
        Some(standing)
    }

    /// Brings the gauges up to date.
    pub fn set_gauges(&self) {
        if let Some(standing) = self.standing() {
            metric::set_gauges(&standing);
        }
    }

    /// Gives everything back, because this replica ends. It sends no request after this.
    pub async fn leave(&self) {
        let Some(shared) = &self.0 else { return };
        let Some(lease) = shared.lease.lock().clone() else { return };
        member::leave(&lease, &shared.account, &shared.identity).await;
    }
}

/// A duration as an argument of a script.
fn milliseconds(time: Duration) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("is_shared", &self.is_shared()).finish_non_exhaustive()
    }
}
