//! The wrong answers of the vendor in a random world.

use std::{collections::HashMap, time::Duration};

use fastrand::Rng;
use gotoassist_grpc::wire::Kind;
use tokio::time::Instant;

use super::CALM_AFTER;
use crate::watch::{
    poison,
    world::{Trick, Trickster, body},
};

/// At most every second answer is bad for each server, session and credential, because the service
/// believes two equal answers in a row.
pub fn trickster(mut rng: Rng, is_forgetful: bool, is_fleet: bool) -> Trickster {
    let start = Instant::now();
    // In a fleet, a poll continues with the answers of another server.
    let mut was_bad: HashMap<(Option<usize>, String, String), bool> = HashMap::new();
    let kinds = [
        Kind::Unavailable,
        Kind::Timeout,
        Kind::ConnectFailed,
        Kind::Internal,
        Kind::Malformed,
        Kind::RateLimited,
        Kind::Redirect,
        Kind::UnexpectedStatus,
        Kind::CredentialUnavailable,
    ];
    let mut poison_rng = Rng::with_seed(7);
    Box::new(move |server, id, credential| {
        if id == poison::POISON {
            return poison::trick(&mut poison_rng, credential);
        }
        let places = if is_fleet { &[Some(server), None][..] } else { &[Some(server)] };
        let key = |place: &Option<usize>| (*place, id.to_owned(), credential.to_owned());
        let is_spared = places.iter().any(|place| was_bad.get(&key(place)) == Some(&true));
        if start.elapsed() > CALM_AFTER {
            return Trick::Honest;
        }
        let never = [body::nothing, body::notice, body::hollow];
        let trick = match rng.u8(0..17) {
            4 => return Trick::Body(*rng.choice(&never).unwrap()),
            // Before the watch knows the session's id, it would believe two such answers in a row.
            8 if !is_spared => Trick::Body(body::foreign),
            5 if is_forgetful && !is_spared => Trick::Body(body::half),
            6 => return Trick::Body(body::loud),
            0 if is_forgetful && !is_spared => {
                Trick::OutOfDate(Duration::from_secs(rng.u64(1..120)))
            }
            1 if !is_spared => Trick::Fail(Kind::NotFound),
            2 | 3 => return Trick::Fail(*rng.choice(&kinds).unwrap()),
            7 => return Trick::Slow(Duration::from_millis(rng.u64(1..20_000))),
            _ => Trick::Honest,
        };
        let is_bad = !matches!(trick, Trick::Honest);
        was_bad.extend(places.iter().map(|place| (key(place), is_bad)));
        trick
    })
}
