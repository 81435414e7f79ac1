//! Replicas that share the tokens of the service's user. One of them refreshes, and the others use
//! what it got. So a refresh token that is valid only once logs nobody out.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::HeaderValue;
use parking_lot::Mutex;
use secrecy::{SecretString, zeroize::Zeroizing};
use tokio::time::{Instant, error::Elapsed, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    response::AccessToken,
    shared_tokens::{Digest, Tokens, digest_of, milliseconds, write},
};

/// The longest wait for the place. If it does not answer, a replica goes on alone.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How long a replica may take for a refresh. Longer than any refresh takes.
pub const CLAIM: Duration = Duration::from_secs(25);

/// How often a replica looks for the tokens that another one is fetching.
const INTERVAL: Duration = Duration::from_millis(200);

/// How often, and for how long, a replica tries to put its tokens into the place.
const PUT_INTERVAL: Duration = Duration::from_secs(1);
const PUT_LIMIT: Duration = Duration::from_mins(10);

/// The earlier refresh tokens that are remembered, by their digests.
const MOST_EARLIER: usize = 64;

/// A place where replicas share a value. One of them at a time may replace it.
pub trait Place: Send + Sync {
    /// Returns the value. Claims the right to replace it for [`CLAIM`], unless another replica has
    /// this right.
    fn claim(&self) -> BoxFuture<'_, Result<Claim, Unreachable>>;

    /// Replaces the value, unless a later claim has replaced it, and gives the right back.
    fn replace(
        &self,
        claim: u64,
        value: Zeroizing<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), Unreachable>>;

    /// Gives the right back.
    fn release(&self, claim: u64) -> BoxFuture<'_, Result<(), Unreachable>>;
}

/// The place does not answer.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable;

/// What a place has.
#[derive(Default)]
pub struct Claim {
    /// The value, and how old it is.
    pub value: Option<(Zeroizing<Vec<u8>>, Duration)>,
    /// The number of the claim, if it was granted. Later claims have larger numbers.
    pub number: Option<u64>,
}

/// What to do to get an access token.
pub(super) enum Step {
    /// Use the one that another replica got.
    Use(AccessToken),
    /// Refresh with this claim, or without one because the place does not answer.
    Refresh(Option<u64>),
}

/// The tokens that the replicas share.
pub(super) struct Shared {
    place: Arc<dyn Place>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The latest access token of this replica.
    access: Option<HeaderValue>,
    /// The digests of the refresh tokens that led to the current one, oldest first.
    earlier: Vec<Digest>,
    /// The refresh token that is valid now.
    newer: Option<SecretString>,
    /// The task that puts the latest tokens of this replica into the place.
    putting: Option<AbortOnDropHandle<Result<(), Elapsed>>>,
}

impl Shared {
    pub fn new(place: Arc<dyn Place>) -> Self {
        Self { place, known: Mutex::default() }
    }

    /// Waits until another replica has got an access token, or this one may get it. `secret` is the
    /// secret of this replica.
    pub async fn next_step(&self, secret: &SecretString) -> Step {
        let deadline = Instant::now() + CLAIM;
        loop {
            let claim = match timeout(ANSWER_LIMIT, self.place.claim()).await {
                Ok(Ok(claim)) => claim,
                Ok(Err(Unreachable)) | Err(_) => return Step::Refresh(None),
            };
            let tokens = claim.value.and_then(|(value, age)| Tokens::read(&value, age));
            let tokens =
                tokens.filter(|tokens| tokens.come_from(secret) && !self.is_outdated(tokens));
            if let Some(tokens) = tokens
                && let Some(access) = self.note(tokens)
            {
                self.release(claim.number).await;
                return Step::Use(access);
            }
            if claim.number.is_some() || Instant::now() >= deadline {
                return Step::Refresh(claim.number);
            }
            sleep(INTERVAL).await;
        }
    }

    /// The refresh token to use in place of the secret of this replica, if another replica has got
    /// one with it.
    pub fn newer(&self, secret: &SecretString) -> Option<SecretString> {
        let known = self.known.lock();
        let is_newer = known.earlier.contains(&digest_of(secret));
        known.newer.clone().filter(|_| is_newer)
    }

    /// Puts the tokens of a refresh into the place. `used` is the secret that bought them.
    pub fn put(
        &self,
        claim: Option<u64>,
        used: &SecretString,
        access: &AccessToken,
        refresh: Option<&SecretString>,
    ) {
        let value = {
            let mut known = self.known.lock();
            let digest = digest_of(used);
            if !known.earlier.contains(&digest) {
                // A secret that did not come from the place begins anew.
                if known.newer.as_ref().is_none_or(|newer| digest_of(newer) != digest) {
                    known.earlier.clear();
                }
                known.earlier.push(digest);
            }
            let excess = known.earlier.len().saturating_sub(MOST_EARLIER);
            known.earlier.drain(..excess);
            known.access = Some(access.header.clone());
            let refresh = refresh.unwrap_or(used).clone();
            known.newer = Some(refresh.clone());
            write(access, &known.earlier, &refresh)
        };
        let (place, issued_at) = (self.place.clone(), access.issued_at);
        // The caller of the refresh does not wait for the place.
        let putting = tokio::spawn(timeout(PUT_LIMIT, async move {
            while !store(&*place, claim, issued_at, &value).await {
                sleep(PUT_INTERVAL).await;
            }
        }));
        // This ends the task for the tokens before these, which must not replace them.
        self.known.lock().putting = Some(AbortOnDropHandle::new(putting));
    }

    /// Gives a claim back without new tokens.
    pub async fn release(&self, claim: Option<u64>) {
        if let Some(number) = claim {
            let _ = timeout(ANSWER_LIMIT, self.place.release(number)).await;
        }
    }

    /// Whether this replica knows that the tokens were replaced. Redis may be restored from an old
    /// copy.
    fn is_outdated(&self, tokens: &Tokens) -> bool {
        let known = self.known.lock();
        let digest = digest_of(&tokens.refresh);
        known.newer.as_ref().is_some_and(|newer| digest_of(newer) != digest)
            && known.earlier.contains(&digest)
    }

    /// Notes the tokens of another replica. Returns the access token, if this replica has another
    /// one.
    fn note(&self, tokens: Tokens) -> Option<AccessToken> {
        let mut known = self.known.lock();
        known.earlier = tokens.earlier;
        known.newer = Some(tokens.refresh);
        let is_new = known.access.as_ref() != Some(&tokens.access.header);
        let is_valid = tokens.access.issued_at.elapsed() < tokens.access.lifetime;
        known.access = Some(tokens.access.header.clone());
        (is_new && is_valid).then_some(tokens.access)
    }
}

/// Puts tokens into the place, and how old they are. Returns whether that is done.
async fn store(place: &dyn Place, claim: Option<u64>, issued_at: Instant, tokens: &[u8]) -> bool {
    let claim = match claim {
        Some(number) => Some(number),
        // The refresh did without. Another replica may have the right now.
        None => place.claim().await.ok().and_then(|claim| claim.number),
    };
    match claim {
        Some(number) => {
            let age = milliseconds(issued_at.elapsed()).to_be_bytes();
            let value = Zeroizing::new([&age[..], tokens].concat());
            place.replace(number, value).await.is_ok()
        }
        None => false,
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    /// A place in this process.
    #[derive(Default)]
    struct Local(Mutex<State>);

    #[derive(Default)]
    struct State {
        value: Option<(Zeroizing<Vec<u8>>, Instant)>,
        number: u64,
        is_claimed: bool,
        is_away: bool,
    }

    impl Place for Local {
        fn claim(&self) -> BoxFuture<'_, Result<Claim, Unreachable>> {
            let mut state = self.0.lock();
            let result = if state.is_away {
                Err(Unreachable)
            } else {
                let number = (!state.is_claimed).then_some(state.number + 1);
                state.number += u64::from(number.is_some());
                state.is_claimed = true;
                let value = state.value.clone();
                Ok(Claim { value: value.map(|(value, at)| (value, at.elapsed())), number })
            };
            Box::pin(async { result })
        }

        fn replace(
            &self,
            _: u64,
            value: Zeroizing<Vec<u8>>,
        ) -> BoxFuture<'_, Result<(), Unreachable>> {
            let mut state = self.0.lock();
            if state.is_away {
                return Box::pin(async { Err(Unreachable) });
            }
            state.value = Some((value, Instant::now()));
            state.is_claimed = false;
            Box::pin(async { Ok(()) })
        }

        fn release(&self, _: u64) -> BoxFuture<'_, Result<(), Unreachable>> {
            self.0.lock().is_claimed = false;
            Box::pin(async { Ok(()) })
        }
    }

    fn access(text: &'static str) -> AccessToken {
        let header = HeaderValue::from_static(text);
        AccessToken { header, issued_at: Instant::now(), lifetime: Duration::from_hours(1) }
    }

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    fn name(secret: Option<SecretString>) -> Option<String> {
        secret.map(|secret| secret.expose_secret().to_owned())
    }

    fn claim(step: Step) -> Option<u64> {
        match step {
            Step::Use(access) => panic!("{access:?}"),
            Step::Refresh(claim) => claim,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_refreshes_and_the_others_wait_and_use_its_tokens() {
        let place = Arc::new(Local::default());
        let [one, two] = [(), ()].map(|()| Arc::new(Shared::new(place.clone())));
        let granted = claim(one.next_step(&secret("r0")).await);
        assert_eq!(granted, Some(1));
        let waiting = tokio::spawn({
            let two = two.clone();
            async move { two.next_step(&secret("r0")).await }
        });
        sleep(Duration::from_secs(5)).await;
        one.put(granted, &secret("r0"), &access("a1"), Some(&secret("r1")));
        let Step::Use(token) = waiting.await.unwrap() else { panic!() };
        assert_eq!(token.header, "a1");
        assert!(token.issued_at.elapsed() < Duration::from_secs(1));
        assert_eq!(name(two.newer(&secret("r0"))).as_deref(), Some("r1"));
        // The next time, the other one refreshes, with the token that it has never seen itself.
        let granted = claim(two.next_step(&secret("r0")).await);
        two.put(granted, &secret("r1"), &access("a2"), Some(&secret("r2")));
        let Step::Use(token) = one.next_step(&secret("r1")).await else { panic!() };
        assert_eq!(token.header, "a2");
        assert_eq!(name(one.newer(&secret("r1"))).as_deref(), Some("r2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_secret_of_the_operator_is_newer_than_what_is_shared() {
        let place = Arc::new(Local::default());
        let one = Shared::new(place.clone());
        let granted = claim(one.next_step(&secret("r0")).await);
        one.put(granted, &secret("r0"), &access("a1"), Some(&secret("r1")));
        sleep(Duration::from_secs(1)).await;
        assert!(claim(one.next_step(&secret("new")).await).is_some());
        assert_eq!(name(one.newer(&secret("new"))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_place_each_goes_on_alone_and_puts_its_tokens_there_later() {
        let place = Arc::new(Local::default());
        let [one, two] = [(), ()].map(|()| Shared::new(place.clone()));
        place.0.lock().is_away = true;
        let granted = claim(one.next_step(&secret("r0")).await);
        assert_eq!(granted, None);
        one.put(granted, &secret("r0"), &access("a1"), Some(&secret("r1")));
        sleep(Duration::from_mins(2)).await;
        place.0.lock().is_away = false;
        sleep(Duration::from_secs(2)).await;
        let Step::Use(token) = two.next_step(&secret("r0")).await else { panic!() };
        assert_eq!(token.header, "a1");
        let age = token.issued_at.elapsed();
        assert!(age >= Duration::from_mins(2) - Duration::from_secs(2), "{age:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_copy_of_the_place_and_garbage_are_ignored() {
        let place = Arc::new(Local::default());
        let one = Shared::new(place.clone());
        let granted = claim(one.next_step(&secret("r0")).await);
        one.put(granted, &secret("r0"), &access("a1"), Some(&secret("r1")));
        sleep(Duration::from_secs(1)).await;
        let old = place.0.lock().value.clone();
        let granted = claim(one.next_step(&secret("r1")).await);
        one.put(granted, &secret("r1"), &access("a2"), Some(&secret("r2")));
        sleep(Duration::from_secs(1)).await;
        for value in [old, Some((Zeroizing::new(b"garbage".to_vec()), Instant::now()))] {
            place.0.lock().value = value;
            let granted = claim(one.next_step(&secret("r2")).await);
            assert!(granted.is_some());
            one.release(granted).await;
            assert_eq!(name(one.newer(&secret("r0"))).as_deref(), Some("r2"));
        }
    }
}
