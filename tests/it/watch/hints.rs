//! The vendor's list and its callbacks in random worlds, with all their faults. Whatever they say,
//! they must only make polls come sooner.

use std::{collections::HashMap, time::Duration};

use fastrand::Rng;
use gotoassist_grpc::{
    feed::HintSource,
    model::{ListedSession, Session},
    wire::Kind,
};
use tokio::time::{Instant, sleep};

use super::{
    random::{Life, Servers, Told},
    world::{Lister, Listing, Vendor},
};

/// The list is read at most this often for a credential, in each server.
const SHORTEST: Duration = Duration::from_secs(2);

/// A list that is right half of the time.
pub fn lister(seed: u64) -> Lister {
    let mut rng = Rng::with_seed(seed ^ 0x5eed);
    let alterations: [fn(&mut ListedSession); 5] = [
        |element| "complete".clone_into(&mut element.session.upstream_status),
        |element| "notStarted".clone_into(&mut element.session.upstream_status),
        |element| element.session = Session::default(),
        |element| "777".clone_into(&mut element.session.session_id),
        |element| element.session.customer_name = Some("A Stranger".to_owned()),
    ];
    let kinds = [Kind::PermissionDenied, Kind::Malformed, Kind::Timeout, Kind::NotFound];
    Box::new(move || match rng.u8(0..14) {
        0 => Listing { lag: Duration::from_secs(rng.u64(1..120)), ..Listing::default() },
        1 => Listing { takes: Duration::from_millis(rng.u64(1..20_000)), ..Listing::default() },
        2 | 3 => Listing { alter: rng.choice(alterations), ..Listing::default() },
        4 => Listing { lacks_some: true, ..Listing::default() },
        5 => Listing { is_doubled: true, ..Listing::default() },
        6 if rng.u8(0..4) == 0 => Listing { failure: rng.choice(kinds), ..Listing::default() },
        _ => Listing::default(),
    })
}

/// Calls back at one of the servers, when sessions change and when they do not.
pub async fn call_back(mut rng: Rng, servers: Servers, lives: Vec<Life>) -> Result<Told, String> {
    let start = Instant::now();
    for _ in 0..60 {
        let Life { id, stages } = rng.choice(&lives).ok_or("no session")?;
        let next = stages.iter().map(|(at, _)| *at).find(|at| *at > start.elapsed());
        match next {
            Some(at) if rng.bool() => sleep(at.saturating_sub(start.elapsed())).await,
            _ => sleep(Duration::from_millis(rng.u64(1..60_000))).await,
        }
        let Ok(session) = id.parse() else { return Err(format!("{id} is no id")) };
        let times = rng.usize(1..4);
        let server = rng.choice(&*servers.lock().unwrap()).unwrap().clone();
        (0..times).for_each(|_| server.service.feed.hint(&session, HintSource::Callback));
    }
    Ok(Told::default())
}

/// Checks how often the list is read: two servers do so, and each may be replaced.
pub fn check_frugal(vendor: &Vendor) -> Result<(), String> {
    let mut by_credential: HashMap<_, Vec<Instant>> = HashMap::new();
    for (at, credential) in &*vendor.listed.lock().unwrap() {
        by_credential.entry(credential.clone()).or_default().push(*at);
    }
    for (credential, times) in by_credential {
        let span = times[times.len() - 1].duration_since(times[0]);
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let count = times.len() as f64;
        if count > 20.0 + 2.0 * span.as_secs_f64() / SHORTEST.as_secs_f64() {
            return Err(format!("{count} readings of the list by {credential} in {span:?}"));
        }
    }
    Ok(())
}
