//! The steps of a call and of an event, each with its time and its allocations: `cargo bench`.
//! `tests/allocations.rs` checks the allocations.

#![expect(clippy::expect_used, reason = "what is measured may panic")]

mod step;

use divan::{AllocProfiler, Bencher, black_box};
use gotoassist_grpc::{
    grpc::resume_token::ResumeTokenCodec,
    model::{Digest, History, Session, SessionId},
};
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn session() -> Session {
    step::decode(step::BODY)
}

fn changed() -> Session {
    Session { notes: Some("other".to_owned()), ..session() }
}

#[divan::bench]
fn decode() -> Session {
    step::decode(black_box(step::BODY))
}

#[divan::bench]
fn map(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(session).bench_values(step::map);
}

#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let message = step::map(session());
    bencher.bench(|| step::encode(black_box(&message)));
}

#[divan::bench]
fn digest(bencher: Bencher<'_, '_>) {
    let session = session();
    bencher.bench(|| -> Digest { step::digest(black_box(&session)) });
}

#[divan::bench]
fn diff(bencher: Bencher<'_, '_>) {
    let (before, after) = (session(), changed());
    bencher.bench(|| step::diff(black_box(&before), black_box(&after)));
}

#[divan::bench]
fn observe(bencher: Bencher<'_, '_>) {
    let session = session();
    let history = || History::starting_with(&session);
    bencher.with_inputs(history).bench_refs(|history| step::observe(history, &session));
}

#[divan::bench]
fn resume_token(bencher: Bencher<'_, '_>) {
    let codec = ResumeTokenCodec::new(Some("key"));
    let id: SessionId = "250040353".parse().expect("an id");
    let known = step::known(&session());
    bencher.bench(|| step::resume_token(&codec, &id, black_box(&known)));
}

#[divan::bench]
fn credential() {
    black_box(step::credential(black_box("Bearer 4vhz2iqpPN3VzKcZ7s8mXWkJqYtR")));
}

#[divan::bench]
fn admit(bencher: Bencher<'_, '_>) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (quota, credential) = (step::quota(), step::credential("Bearer a"));
    bencher.bench_local(|| runtime.block_on(step::admit(&quota, &credential)));
}
