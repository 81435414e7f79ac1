//! Lives of sessions for random worlds.

use std::time::Duration;

use fastrand::Rng;
use gotoassist_grpc::model::{Session, Status};

use super::world::after_dawn;

/// A life in the documented order, from any status on. Its notes appear and disappear.
pub fn life(rng: &mut Rng, id: &str, has_unknown: bool) -> Vec<(Duration, Session)> {
    let whole = ["notStarted", "waiting", "active", "complete"];
    let short = ["notStarted", "waiting", "abandoned"];
    let statuses: &[&str] = if rng.u8(0..4) == 0 { &short } else { &whole };
    let mut session = Session { session_id: id.to_owned(), ..Session::default() };
    let mut stages: Vec<(Duration, Session)> = Vec::new();
    let mut age = Duration::ZERO;
    for status in &statuses[rng.usize(0..statuses.len() - 1)..] {
        (*status).clone_into(&mut session.upstream_status);
        let at = Some(after_dawn(age).into());
        match Status::named(status) {
            Status::Waiting => session.started_at = at,
            Status::Active => session.customer_joined_at = at,
            Status::Complete | Status::Abandoned => session.ended_at = at,
            Status::NotStarted | Status::Unknown => {}
        }
        stages.push((age, session.clone()));
        let dwell = [1, 4, 20, 200][rng.usize(0..4)];
        for note in 0..rng.u8(0..3) {
            age += Duration::from_millis(rng.u64(1..=dwell * 1000));
            session.notes = (note > 0).then(|| rng.u64(..).to_string());
            stages.push((age, session.clone()));
        }
        age += Duration::from_millis(rng.u64(1..=dwell * 1000));
        if has_unknown && rng.bool() && !Status::named(status).is_final() {
            session.upstream_status = format!("after {status}");
            stages.push((age, session.clone()));
            age += Duration::from_millis(rng.u64(1..=dwell * 1000));
        }
    }
    stages
}
