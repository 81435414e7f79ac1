//! Sessions with random lives. Each life depends on the seed and its number only.

use fastrand::Rng;

use super::life::SessionScript;
use crate::config::simulate::{CollaboratorForm, KeyForm, Shape, TimestampForm};

/// The id of the first random session.
pub const FIRST_ID: u64 = 900_000_000;

/// The lives begin within this many seconds, at speed 1.
const SPREAD: f64 = 1800.0;

/// The session with this number, whose life passes `factor` times faster than a real one.
pub(super) fn session(seed: u64, number: u32, factor: f64) -> SessionScript {
    let mut rng = Rng::with_seed(seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut at = -SPREAD / 3.0 + rng.f64() * SPREAD;
    let mut script = SessionScript::new((FIRST_ID + u64::from(number)).to_string());
    script.shape = shape(&mut rng);
    let scaled = |at: f64| at / factor.max(f64::MIN_POSITIVE);

    if rng.f64() < 0.1 {
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

/// An exponentially distributed number of seconds.
fn lasting(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

fn shape(rng: &mut Rng) -> Shape {
    let times = [TimestampForm::Fraction, TimestampForm::Offset, TimestampForm::BasicOffset];
    Shape {
        keys: maybe(rng, &[KeyForm::Number, KeyForm::String]),
        session_ids: maybe(rng, &[KeyForm::Number]),
        timestamps: maybe(rng, &times),
        collaborators: maybe(rng, &[CollaboratorForm::Strings, CollaboratorForm::Objects]),
        ..Shape::default()
    }
}

/// One of the forms, or none. Each has the same probability.
fn maybe<T: Copy>(rng: &mut Rng, forms: &[T]) -> Option<T> {
    forms.get(rng.usize(..=forms.len()).wrapping_sub(1)).copied()
}
