//! The task of a replica that reports what it used and asks for permits.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{
    account::{Account, AccountError},
    budget::Demand,
    lease::Lease,
    limit::TIMELY,
    metric,
    settings::Identity,
};

/// The time between two questions of a replica that needs nothing.
const PERIOD: Duration = Duration::from_millis(75);

/// The time between two questions while Redis does not answer.
const PERIOD_AWAY: Duration = Duration::from_millis(250);

/// The shortest time between two questions.
const SHORTEST: Duration = Duration::from_millis(3);

/// The longest wait for an answer. An answer that comes after [`TIMELY`] brings no permits.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How long Redis may be away after the start before a log line tells so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts the task. It ends when the handle is dropped, or when the replica has left.
pub(super) fn start(
    lease: Arc<Mutex<Lease>>,
    account: Account,
    identity: Identity,
    demand: impl Fn() -> Demand + Send + Sync + 'static,
    changed: Arc<Notify>,
) -> AbortOnDropHandle<()> {
    let run = async move {
        let wanted = lease.lock().wanted();
        let mut reporter = Reporter { began_at: Instant::now(), was_joined: None };
        while !lease.lock().has_left() {
            let (sent, result) = ask(&lease, &account, &identity, demand()).await;
            reporter.report(&lease, result);
            changed.notify_one();
            let period = if result.is_ok() { PERIOD } else { PERIOD_AWAY };
            // The lock must not be held while waiting.
            let retry_at = lease.lock().retry_at();
            if let Some(at) = retry_at {
                sleep_until(at.clamp(sent + SHORTEST, sent + period)).await;
            } else {
                sleep_until(sent + SHORTEST).await;
                let _ = timeout_at(sent + period, wanted.notified()).await;
            }
        }
    };
    AbortOnDropHandle::new(tokio::spawn(run))
}

/// Tells the account that this replica ends.
pub(super) async fn leave(lease: &Mutex<Lease>, account: &Account, identity: &Identity) {
    lease.lock().leave();
    let last = ask(lease, account, identity, Demand::default());
    // Without an answer, the account keeps the share free for a while.
    let _ = timeout(TIMELY, last).await;
}

async fn ask(
    lease: &Mutex<Lease>,
    account: &Account,
    identity: &Identity,
    demand: Demand,
) -> (Instant, Result<(), AccountError>) {
    let sent = Instant::now();
    let question = lease.lock().question(identity, demand, sent);
    let answer = timeout(ANSWER_LIMIT, account(question)).await;
    let result = match answer.unwrap_or(Err(AccountError::Timeout)) {
        Ok(answer) => {
            lease.lock().answer(&answer, Instant::now());
            Ok(())
        }
        Err(error) => {
            lease.lock().failed(error);
            Err(error)
        }
    };
    (sent, result)
}

/// Logs when Redis goes away and comes back, once each.
struct Reporter {
    began_at: Instant,
    was_joined: Option<bool>,
}

impl Reporter {
    fn report(&mut self, lease: &Mutex<Lease>, result: Result<(), AccountError>) {
        if let Err(error) = result {
            metric::count_failure(error);
        }
        let now = Instant::now();
        let standing = lease.lock().standing(now);
        let is_starting = self.was_joined.is_none() && now < self.began_at + PATIENCE;
        if self.was_joined == Some(standing.is_joined) || (is_starting && !standing.is_joined) {
            return;
        }
        self.was_joined = Some(standing.is_joined);
        if standing.is_joined {
            info!(replicas = standing.replicas, "shares the quota with the fleet");
        } else {
            let cause = standing.failure.map_or("timeout", <&str>::from);
            warn!(cause, share = standing.share, "Redis does not answer in time; going on alone");
        }
    }
}
