//! Sessions with random lives, each made of the seed and its number alone.

use fastrand::Rng;

use super::life::SessionScript;
use crate::config::simulate::{CollaboratorForm, KeyForm, Shape, TimestampForm};

/// The id of the first one.
pub const FIRST_ID: u64 = 900_000_000;

/// Seconds over which the beginnings of the lives are spread, at speed 1.
const SPREAD: f64 = 1800.0;

/// The life with this number, passing `factor` times faster than a real one.
pub(super) fn session(seed: u64, number: u32, factor: f64) -> SessionScript {
    let mut rng = Rng::with_seed(seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut at = -SPREAD / 3.0 + rng.f64() * SPREAD;
    let mut script = SessionScript::new((FIRST_ID + u64::from(number)).to_string());
    script.shape = shape(&mut rng);
    let scaled = |at: f64| at / factor.max(f64::MIN_POSITIVE);

    let is_unattended = rng.f64() < 0.1;
    if is_unattended {
        script = script
            .field("unattendedMachineName", format!("MACHINE-{number}"))
            .field("unattendedMachineUuid", format!("00000000-0000-4000-8000-{number:012}"))
            .field("accountName", "Example GmbH");
    } else {
        script = script.step(scaled(at), "notStarted");
        at += lasting(&mut rng, 60.0);
        script = script.step(scaled(at), "waiting");
        at += lasting(&mut rng, 45.0);
        if rng.f64() < 0.15 {
            return script.step(scaled(at), "abandoned");
        }
    }
    script = script.step(scaled(at), "active");
    at += lasting(&mut rng, 600.0);
    script = script.step(scaled(at), "complete");
    if rng.f64() < 0.4 {
        let late = at + lasting(&mut rng, 120.0);
        script = script.later(scaled(late), "notes", format!("Notes on session {number}."));
    }
    if rng.f64() < 0.3 {
        let late = at + lasting(&mut rng, 300.0);
        let url = format!("https://recordings.example.com/{number}");
        script = script.later(scaled(late), "sessionRecordingUrl", url);
    }
    script
}

/// An exponentially distributed time in seconds.
fn lasting(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

fn shape(rng: &mut Rng) -> Shape {
    Shape {
        keys: rng.choice([None, Some(KeyForm::Number), Some(KeyForm::String)]).flatten(),
        session_ids: rng.choice([None, Some(KeyForm::Number)]).flatten(),
        timestamps: rng
            .choice([
                None,
                Some(TimestampForm::Fraction),
                Some(TimestampForm::Offset),
                Some(TimestampForm::BasicOffset),
            ])
            .flatten(),
        collaborators: rng
            .choice([None, Some(CollaboratorForm::Strings), Some(CollaboratorForm::Objects)])
            .flatten(),
        ..Shape::default()
    }
}

#[cfg(test)]
mod tests {
    use super::session;

    #[test]
    fn the_same_seed_gives_the_same_lives() {
        let lives = |seed| {
            let lives: Vec<_> = (0..50).map(|number| session(seed, number, 1.0)).collect();
            serde_json::to_string(&lives).unwrap()
        };
        assert_eq!(lives(1), lives(1));
        assert_ne!(lives(1), lives(2));
    }

    #[test]
    fn random_lives_can_be_played_and_end() {
        for number in 0..1000 {
            let script = session(7, number, 10.0).checked().unwrap();
            let end = script.moment(1e9).unwrap();
            assert!(matches!(end.status.as_str(), "complete" | "abandoned"), "{}", end.status);
        }
    }
}
