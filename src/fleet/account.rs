//! The questions of a replica about its quota, and the answers of the account, which `quota.lua`
//! keeps. An account is a function, so that tests can run the script without Redis.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{budget::Demand, settings::Identity};

/// The script of the account.
pub const SCRIPT: &str = include_str!("quota.lua");

/// Answers questions. An error means that it is unknown whether the account got the question.
pub type Account =
    Arc<dyn Fn(Question) -> BoxFuture<'static, Result<Answer, AccountError>> + Send + Sync>;

/// Why there is no answer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum AccountError {
    /// There is no connection to Redis, or it broke.
    #[error("there is no connection to Redis")]
    Connection,
    /// Redis refuses the user, the password or a command.
    #[error("Redis refuses the user, the password or a command")]
    Refused,
    /// Redis did not answer in time.
    #[error("Redis did not answer in time")]
    Timeout,
    /// The answer is not one of the script.
    #[error("the answer of Redis is not one of the script")]
    Malformed,
}

/// What a replica has used and needs. Times are durations, or times of the server that were in
/// earlier answers, because the clocks of replicas and of Redis differ.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The name of the replica, and the number of its process.
    pub identity: Identity,
    /// The number of the question.
    pub number: u64,
    /// The number of the latest question whose answer the replica knows.
    pub answered: u64,
    /// A time of the server at which the replica had not yet sent the latest question that was
    /// answered in time.
    pub confirmed: Option<u64>,
    /// The time of the server at which the question is void.
    pub expires: Option<u64>,
    /// The most requests per second.
    pub rps: f64,
    /// The size of a burst.
    pub burst: u32,
    /// The permits that the replica still may use.
    pub held: usize,
    /// The time until the last of them ends.
    pub held_for: Duration,
    /// The permits that the replica gives back.
    pub returned: usize,
    /// The requests that wait.
    pub demand: Demand,
    /// The rest of the pause that the vendor wants, if it answered 429 since the last question.
    pub slow_down: Option<Duration>,
    /// The good answers of the vendor since the last question.
    pub good_answers: u64,
    /// Whether the replica ends.
    pub leaves: bool,
    /// The account that the replica knows. It changes when Redis loses its data.
    pub epoch: u64,
    /// The number of the latest answer that the replica knows.
    pub serial: u64,
    /// The share with which the replica goes on alone.
    pub share: u64,
    /// A number for a new account.
    pub fresh: u64,
    /// Whether the replica wants permits.
    pub asks: bool,
    /// The ages of the latest requests, and how many have this age.
    pub uses: Vec<(Duration, usize)>,
}

/// What the account answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The time of the server, in microseconds.
    pub time: u64,
    /// The number of the connection. After a new connection, another server may answer.
    pub connection: u64,
    /// Whether the question changed anything.
    pub verdict: Verdict,
}

/// Whether a question changed anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It did.
    Accepted(Terms),
    /// It came too late. `is_known` tells whether the account has a share for this replica.
    TooLate {
        /// Whether the account has a share for this replica.
        is_known: bool,
    },
}

/// What the account knows and grants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// The permits that the replica may use from now on.
    pub granted: usize,
    /// The account.
    pub epoch: u64,
    /// The number of the answer.
    pub serial: u64,
    /// The share with which the replica goes on alone: a number of requests in a window.
    pub share: u64,
    /// The requests per second that the vendor allows now.
    pub rate: f64,
    /// The rest of the vendor's pause.
    pub pause: Duration,
    /// When to ask again, while requests wait.
    pub retry: Duration,
    /// The replicas of the fleet, including this one and the silent ones.
    pub replicas: usize,
    /// The replicas that have not called for a while, and whose share is kept free.
    pub silent: usize,
    /// The requests that wait at other replicas.
    pub waiting_elsewhere: usize,
}

impl Question {
    /// The arguments of the script.
    pub fn arguments(&self) -> Vec<String> {
        let micros = |duration: Duration| duration.as_micros().to_string();
        let uses: Vec<_> =
            self.uses.iter().map(|(age, count)| format!("{}:{count}", micros(*age))).collect();
        vec![
            self.identity.name.clone(),
            self.identity.incarnation.to_string(),
            if uses.is_empty() { "-".to_owned() } else { uses.join(",") },
            self.number.to_string(),
            self.answered.to_string(),
            self.confirmed.unwrap_or_default().to_string(),
            self.expires.unwrap_or_default().to_string(),
            self.rps.to_string(),
            self.burst.to_string(),
            self.held.to_string(),
            micros(self.held_for),
            self.returned.to_string(),
            self.demand.unary.to_string(),
            self.demand.callers.to_string(),
            self.demand.hinted.to_string(),
            self.demand.routine.to_string(),
            u8::from(self.slow_down.is_some()).to_string(),
            micros(self.slow_down.unwrap_or_default()),
            self.good_answers.to_string(),
            u8::from(self.leaves).to_string(),
            self.epoch.to_string(),
            self.serial.to_string(),
            self.share.to_string(),
            micros(self.identity.alone_limit),
            self.fresh.to_string(),
            u8::from(self.asks).to_string(),
        ]
    }
}

impl Answer {
    /// Reads the numbers of the script.
    pub fn read(numbers: &[i64], connection: u64) -> Result<Self, AccountError> {
        let unsigned = |number: i64| u64::try_from(number).map_err(|_| AccountError::Malformed);
        let count = |number: i64| usize::try_from(number).map_err(|_| AccountError::Malformed);
        let (time, verdict) = match *numbers {
            [-1, is_known, time] => (time, Verdict::TooLate { is_known: is_known == 1 }),
            [
                granted,
                epoch,
                serial,
                share,
                rate,
                pause,
                retry,
                replicas,
                silent,
                waiting,
                time,
            ] => {
                let millis = u32::try_from(rate).map_err(|_| AccountError::Malformed)?;
                let terms = Terms {
                    granted: count(granted)?,
                    epoch: unsigned(epoch)?,
                    serial: unsigned(serial)?,
                    share: unsigned(share)?,
                    rate: f64::from(millis) / 1000.0,
                    pause: Duration::from_micros(unsigned(pause)?),
                    retry: Duration::from_micros(unsigned(retry)?),
                    replicas: count(replicas)?,
                    silent: count(silent)?,
                    waiting_elsewhere: count(waiting)?,
                };
                (time, Verdict::Accepted(terms))
            }
            _ => return Err(AccountError::Malformed),
        };
        Ok(Self { time: unsigned(time)?, connection, verdict })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_of_the_script_is_refused() {
        assert!(Answer::read(&[1, 2, 3, 4, 8000, 0, 2000, 1, 0, 0, 7], 1).is_ok());
        assert!(Answer::read(&[-1, 1, 7], 1).is_ok());
        for numbers in [&[][..], &[1, 2, 3], &[-1, 2, 3, 4, 8000, 0, 2000, 1, 0, 0, 7]] {
            assert_eq!(Answer::read(numbers, 1), Err(AccountError::Malformed));
        }
    }
}
