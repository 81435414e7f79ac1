//! Lives of sessions at a help desk, and what the vendor shows of them.

use std::{ops::Range, time::Duration};

use fastrand::Rng;
use gotoassist_grpc::model::{ListedSession, Session, Status};

use super::{super::world::after_dawn, END};

/// The kinds of lives.
#[derive(Clone, Copy, Debug)]
pub enum Lives {
    /// Lives at a help desk. Most sessions start within minutes, the others only after a long time,
    /// and customers join in the same way. Hardly any session is over at once. The times are
    /// log-normal.
    Desk,
    /// Lives that are hard to predict. The times are exponential with the same means.
    Memoryless,
}

/// The times of a session's changes in seconds, and its status from each time on.
pub type Life = Vec<(f64, Status)>;

/// The sessions that one desk watches in sequence. The desk opens the next session when one is
/// over.
pub fn lives(kind: Lives, place: u32) -> Vec<Life> {
    let mut rng = Rng::with_seed(place.into());
    let time = |rng: &mut Rng, median, sigma| match kind {
        Lives::Desk => log_normal(rng, median, sigma),
        Lives::Memoryless => exponential(rng, median * (sigma * sigma / 2.0_f64).exp()),
    };
    let mut lives = Vec::new();
    // The test begins somewhere in the middle of a session.
    let mut now = -rng.f64() * 3600.0;
    while now < END {
        let mut life = vec![(now, Status::NotStarted)];
        now += time(&mut rng, 120.0, 1.2);
        life.push((now, Status::Waiting));
        if rng.f64() < 0.15 {
            now += time(&mut rng, 480.0, 0.5);
            life.push((now, Status::Abandoned));
        } else {
            now += time(&mut rng, 60.0, 1.0);
            life.push((now, Status::Active));
            now += time(&mut rng, 1500.0, 0.7);
            life.push((now, Status::Complete));
        }
        if now > 0.0 {
            lives.push(life);
        }
    }
    lives
}

fn log_normal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (median * (sigma * normal).exp()).clamp(1.0, 7200.0)
}

fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    (-mean * (1.0 - rng.f64()).ln()).clamp(1.0, 7200.0)
}

pub fn all_lives(kind: Lives, count: u32) -> Vec<Vec<Life>> {
    (0..count).map(|place| lives(kind, place)).collect()
}

/// Shows the sessions that began in this time. Returns how many there are.
pub fn show(
    all: &[Vec<Life>],
    window: Range<f64>,
    share: f64,
    keep: &mut dyn FnMut(ListedSession),
) -> usize {
    let mut shown = 0;
    for (place, lives) in all.iter().enumerate() {
        for (number, life) in lives.iter().enumerate() {
            // A session counts from its start, and before that from its creation.
            let begins_at = if life[1].0 <= window.end { life[1].0 } else { life[0].0 };
            // As in `session`, nothing happens before the test begins.
            if !window.contains(&begins_at.max(0.0)) {
                continue;
            }
            shown += 1;
            let id = format!("{place}-{number}");
            #[expect(clippy::cast_precision_loss, reason = "small")]
            if (place % 100) as f64 >= share * 100.0 {
                continue;
            }
            let mut session = session(all, &id, window.end);
            if session.status() == Status::NotStarted {
                session.session_id.clear();
            }
            keep(ListedSession { session, start_token: Some(id) });
        }
    }
    shown
}

pub fn session(all: &[Vec<Life>], id: &str, now: f64) -> Session {
    let (place, number) = id.split_once('-').unwrap();
    let life = &all[place.parse::<usize>().unwrap()][number.parse::<usize>().unwrap()];
    let mut session = Session { session_id: id.to_owned(), ..Session::default() };
    let mut status = Status::NotStarted;
    for (at, next) in life.iter().filter(|(at, _)| *at <= now) {
        status = *next;
        let at = Some(after_dawn(Duration::from_secs_f64(at.max(0.0))).into());
        match status {
            Status::Waiting => session.started_at = at,
            Status::Active => session.customer_joined_at = at,
            Status::Complete | Status::Abandoned => session.ended_at = at,
            Status::NotStarted | Status::Unknown => {}
        }
    }
    status.name().clone_into(&mut session.upstream_status);
    session
}
