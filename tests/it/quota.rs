//! The quota on paused time: it is never exceeded, it is fair between callers, and no admission is
//! lost.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test")]

mod hold;
mod leaving;
mod random_world;
mod watches;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use gotoassist_grpc::{
    credential::{Credential, CredentialId},
    traffic::{
        Hint, Urgency,
        quota::{Class, Quota, Scope, Settings},
    },
    wire::Kind,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// The admissions: their time and their caller.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Instant, String)>>>);

impl Log {
    fn note(&self, who: &str) {
        self.0.lock().unwrap().push((Instant::now(), who.to_owned()));
    }

    fn shares(&self) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for (_, who) in self.0.lock().unwrap().iter() {
            *shares.entry(who.clone()).or_default() += 1;
        }
        shares
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    #[track_caller]
    fn assert_never_above(&self, quota: usize) {
        let admitted = self.0.lock().unwrap();
        for window in admitted.windows(quota + 1) {
            let length = window[quota].0 - window[0].0;
            assert!(length >= Duration::from_secs(1), "{} in {length:?}", quota + 1);
        }
    }
}

fn settings(rps: f64) -> Settings {
    Settings { rps, burst: 8, scope: Scope::Process, queue_limit: 1000 }
}

fn quota(rps: f64) -> Arc<Quota> {
    Arc::new(Quota::new(settings(rps)))
}

fn caller(name: &str) -> CredentialId {
    Credential::from_authorization(&format!("Bearer {name}")).unwrap().id()
}

fn urgency(weight: f64) -> Urgency {
    Urgency { since: Instant::now(), weight, hint: Hint::default() }
}

/// Makes calls in sequence, each after the answer to the previous one.
async fn keep_calling(quota: Arc<Quota>, name: String, log: Log) {
    loop {
        quota.admit(caller(&name), Class::Unary, None).await.unwrap();
        log.note(&name);
        sleep(ms(40)).await;
    }
}

async fn hundred_callers_for_a_minute(rps: f64) -> Log {
    let (quota, log) = (quota(rps), Log::default());
    let mut callers = JoinSet::new();
    for number in 0..100 {
        callers.spawn(keep_calling(Arc::clone(&quota), format!("caller-{number}"), log.clone()));
    }
    sleep(Duration::from_mins(1)).await;
    callers.shutdown().await;
    log
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_share_alike_and_stay_within_the_quota() {
    let log = hundred_callers_for_a_minute(10.0).await;
    log.assert_never_above(10);
    let shares = log.shares();
    let (most, least) = (shares.values().max().unwrap(), shares.values().min().unwrap());
    assert_eq!(shares.len(), 100);
    assert!(10 * most <= 12 * least, "{most} against {least}");
    assert!(log.len() >= 590, "the quota is used: {}", log.len());
}

/// At 8 requests per second, each of a hundred callers gets 4.8 calls in a minute on average:
/// sometimes 4, sometimes 5, but never 3 or 6.
#[tokio::test(start_paused = true)]
async fn at_the_default_rate_no_caller_is_more_than_one_call_ahead() {
    let log = hundred_callers_for_a_minute(8.0).await;
    log.assert_never_above(8);
    let shares = log.shares();
    let (most, least) = (shares.values().max().unwrap(), shares.values().min().unwrap());
    assert!(shares.len() == 100 && most - least <= 1, "{most} against {least}");
}

#[tokio::test(start_paused = true)]
async fn a_noisy_caller_does_not_delay_a_quiet_one() {
    let (quota, log) = (quota(8.0), Log::default());
    let mut callers = JoinSet::new();
    for _ in 0..300 {
        callers.spawn(keep_calling(Arc::clone(&quota), "noisy".to_owned(), log.clone()));
    }
    sleep(Duration::from_secs(2)).await;
    for _ in 0..20 {
        let asked = Instant::now();
        quota.admit(caller("quiet"), Class::Unary, None).await.unwrap();
        assert!(asked.elapsed() <= Duration::from_millis(300), "{:?}", asked.elapsed());
        sleep(Duration::from_secs(1)).await;
    }
    log.assert_never_above(8);
}

#[tokio::test(start_paused = true)]
async fn callers_who_share_a_credential_take_turns_too() {
    let quota = quota(8.0);
    let mut noisy = JoinSet::new();
    for _ in 0..300 {
        let quota = Arc::clone(&quota);
        noisy.spawn(async move {
            quota.admit_for(caller("noisy"), Credential::SERVICE.id(), Class::Unary, None).await
        });
    }
    sleep(Duration::from_secs(2)).await;
    let asked = Instant::now();
    let service = Credential::SERVICE.id();
    quota.admit_for(caller("quiet"), service, Class::Unary, None).await.unwrap();
    assert!(asked.elapsed() <= Duration::from_millis(300), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_costs_the_noisy_caller_its_own_calls_only() {
    let quota = Arc::new(Quota::new(Settings { queue_limit: 20, ..settings(8.0) }));
    let mut noisy = JoinSet::new();
    for _ in 0..100 {
        let quota = Arc::clone(&quota);
        noisy.spawn(async move { quota.admit(caller("noisy"), Class::Unary, None).await });
    }
    let mut quiet = JoinSet::new();
    for number in 0..5 {
        let quota = Arc::clone(&quota);
        let name = format!("quiet-{number}");
        quiet.spawn(async move { quota.admit(caller(&name), Class::Unary, None).await });
    }
    assert!(quiet.join_all().await.iter().all(Result::is_ok));
    let noisy = noisy.join_all().await;
    let refused: Vec<_> = noisy.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 100 - 8 - 20 + 5);
    for error in refused {
        assert_eq!(error.kind, Kind::QuotaExhausted);
        assert!(error.retry_after.unwrap() > Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_come_too_late_fails_at_once_and_is_told_when() {
    let quota = quota(8.0);
    let mut callers = JoinSet::new();
    for _ in 0..48 {
        let quota = Arc::clone(&quota);
        callers.spawn(async move { quota.admit(caller("a"), Class::Unary, None).await });
    }
    tokio::task::yield_now().await;
    let now = Instant::now();
    let soon = Some(now + Duration::from_secs(2));
    // The other caller has 40 waiting calls. One of them goes before this call. If they were this
    // caller's own calls, all would go before it.
    quota.admit(caller("b"), Class::Unary, soon).await.unwrap();
    let now = Instant::now();
    let soon = Some(now + Duration::from_secs(2));
    let error = quota.admit(caller("a"), Class::Unary, soon).await.unwrap_err();
    assert_eq!(error.kind, Kind::QuotaExhausted);
    assert_eq!(Instant::now(), now, "at once");
    let turn = error.retry_after.unwrap();
    let in_time = Some(now + turn + Duration::from_millis(5));
    quota.admit(caller("a"), Class::Unary, in_time).await.unwrap();
    assert!(now.elapsed() + Duration::from_millis(50) >= turn, "{:?} {turn:?}", now.elapsed());
}

/// Calls that give up in the queue take no quota from calls that wait.
#[tokio::test(start_paused = true)]
async fn a_caller_with_short_deadlines_slows_nobody_and_spoils_no_estimate() {
    let (quota, log) = (quota(8.0), Log::default());
    let mut callers = JoinSet::new();
    callers.spawn(keep_calling(Arc::clone(&quota), "patient".to_owned(), log.clone()));
    for _ in 0..50 {
        let quota = Arc::clone(&quota);
        callers.spawn(async move {
            loop {
                let soon = Some(Instant::now() + Duration::from_secs(1));
                quota.admit(caller("hasty"), Class::Unary, soon).await.ok();
                sleep(ms(100)).await;
            }
        });
    }
    sleep(Duration::from_secs(30)).await;
    // The caller gets half of the turns. The estimate of its wait counts only calls that can still
    // be admitted, so this call is not refused.
    let asked = Instant::now();
    let in_time = Some(asked + Duration::from_secs(3));
    quota.admit(caller("hasty"), Class::Unary, in_time).await.unwrap();
    callers.shutdown().await;
    let patient = log.shares()["patient"];
    assert!((115..=135).contains(&patient), "{patient} of some 240");
    let snapshot = quota.snapshot();
    assert_eq!((snapshot.waiting_unary, snapshot.waiting_watches), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_cancelled_calls_costs_nothing() {
    let (quota, log) = (quota(8.0), Log::default());
    let mut random = fastrand::Rng::with_seed(3);
    let start = Instant::now();
    let mut steady = JoinSet::new();
    steady.spawn(keep_calling(Arc::clone(&quota), "steady".to_owned(), log.clone()));
    let mut storm = JoinSet::new();
    for number in 0..2000 {
        let (quota, log) = (Arc::clone(&quota), log.clone());
        let patience = Duration::from_millis(random.u64(0..3000));
        storm.spawn(async move {
            let name = format!("storm-{}", number % 50);
            let class = if number % 3 == 0 { Class::Watch(urgency(1.0)) } else { Class::Unary };
            if timeout(patience, quota.admit(caller(&name), class, None)).await.is_ok() {
                log.note(&name);
            }
        });
        if number % 20 == 0 {
            sleep(Duration::from_millis(random.u64(0..100))).await;
        }
    }
    storm.join_all().await;
    log.assert_never_above(8);
    let used = log.len();
    let possible = 8.0 * start.elapsed().as_secs_f64();
    assert!(used as f64 >= 0.9 * possible, "{used} of {possible}");
    steady.shutdown().await;
    let snapshot = quota.snapshot();
    assert_eq!((snapshot.waiting_unary, snapshot.waiting_watches), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_slows_all_at_once_and_good_answers_recover_slowly() {
    let quota = quota(8.0);
    quota.slow_down(caller("a"), None);
    assert!((quota.snapshot().rate - 4.0).abs() < 0.01);
    let log = Log::default();
    let mut callers = JoinSet::new();
    callers.spawn(keep_calling(Arc::clone(&quota), "b".to_owned(), log.clone()));
    sleep(Duration::from_secs(10)).await;
    callers.shutdown().await;
    assert!((38..=41).contains(&log.len()), "{}", log.len());
    log.assert_never_above(4);
    for _ in 0..100 {
        quota.speed_up(caller("b"));
    }
    assert!((quota.snapshot().rate - 6.0).abs() < 0.01);
    for _ in 0..1000 {
        quota.speed_up(caller("b"));
    }
    assert!((quota.snapshot().rate - 8.0).abs() < 0.01);
    for _ in 0..20 {
        sleep(Duration::from_secs(1)).await;
        quota.slow_down(caller("a"), None);
    }
    assert!(quota.snapshot().rate > 0.4, "never stops altogether");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_by_all_and_no_bunch_follows_it() {
    let (quota, log) = (quota(8.0), Log::default());
    quota.admit(caller("a"), Class::Unary, None).await.unwrap();
    let refused = Instant::now();
    quota.slow_down(caller("a"), Some(Duration::from_secs(30)));
    assert_eq!(quota.snapshot().pause, Duration::from_secs(30));
    let soon = Some(refused + Duration::from_secs(10));
    let error = quota.admit(caller("b"), Class::Unary, soon).await.unwrap_err();
    assert_eq!(error.kind, Kind::RateLimited, "the pause is the vendor's");
    assert_eq!(error.retry_after.map(|after| after.as_secs()), Some(30));
    let mut callers = JoinSet::new();
    callers.spawn(keep_calling(Arc::clone(&quota), "b".to_owned(), log.clone()));
    sleep(Duration::from_secs(32)).await;
    callers.shutdown().await;
    let admitted = log.0.lock().unwrap();
    assert!(admitted[0].0 - refused >= Duration::from_secs(30));
    assert!(admitted[1].0 - admitted[0].0 >= Duration::from_millis(240));
}

#[tokio::test(start_paused = true)]
async fn each_credential_may_have_a_quota_of_its_own() {
    let quota = Quota::new(Settings { scope: Scope::Credential, ..settings(8.0) });
    let start = Instant::now();
    for name in ["a", "b", "c"] {
        for _ in 0..8 {
            quota.admit(caller(name), Class::Unary, None).await.unwrap();
        }
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    quota.slow_down(caller("a"), Some(Duration::from_mins(1)));
    quota.admit(caller("b"), Class::Unary, None).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    quota.admit(caller("a"), Class::Unary, None).await.unwrap();
    assert!(start.elapsed() >= Duration::from_mins(1));
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
