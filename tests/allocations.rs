//! Counts the allocations of each step of a call and of an event. A regression shows here first,
//! and the counts are the same on every machine. `cargo bench` measures the time of the same steps.
//!
//! This test is a program of its own because it replaces the allocator.

#![cfg(feature = "command")]
#![expect(clippy::expect_used, reason = "a test may panic")]

#[path = "../benches/steps/step.rs"]
mod step;

use allocation_counter::measure;
use gotoassist_grpc::{
    grpc::resume_token::ResumeTokenCodec,
    model::{History, Session, SessionId},
};
use tokio::runtime::Builder;

#[test]
fn each_step_makes_the_expected_number_of_allocations() {
    let session = || step::decode(step::BODY);
    let other = Session { notes: Some("other".to_owned()), ..session() };
    let (one, message) = (session(), step::map(session()));
    let mut history = History::starting_with(&one);
    let (codec, id) =
        (ResumeTokenCodec::new(Some("key")), "250040353".parse::<SessionId>().unwrap());
    let known = step::known(&one);
    let (quota, credential) = (step::quota(), step::credential("Bearer a"));
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let mut given = Some(session());
    // Decoding allocates once for each text field. No other step does.
    let texts = 15;

    let mut complaints = Vec::new();
    let mut hold = |step: &str, limit: u64, run: &mut dyn FnMut()| {
        // The first run makes what is created lazily.
        run();
        let count = measure(run).count_total;
        if count != limit {
            complaints.push(format!("{step}: {count} allocations, not {limit}"));
        }
    };
    // The map of the fields takes five more allocations.
    hold("decode", texts + 5, &mut || drop(session()));
    hold("encode", 1, &mut || drop(step::encode(&message)));
    hold("digest", 0, &mut || {
        step::digest(&one);
    });
    hold("diff", 1, &mut || drop(step::diff(&one, &other)));
    hold("observe", 0, &mut || step::observe(&mut history, &one));
    hold("resume token", 3, &mut || drop(step::resume_token(&codec, &id, &known)));
    hold("credential", 2, &mut || drop(step::credential("Bearer abc")));
    hold("admit", 0, &mut || runtime.block_on(step::admit(&quota, &credential)));
    let map = measure(|| drop(given.take().map(step::map))).count_total;
    assert_eq!(map, 0, "map");
    assert!(complaints.is_empty(), "{complaints:#?}");
}
