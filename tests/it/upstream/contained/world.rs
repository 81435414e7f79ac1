//! The world of one cell of the matrix: a vendor with good and bad sessions, one source of trouble,
//! and the other callers, whose calls are measured.

use std::{collections::HashSet, fmt, sync::Mutex, time::Duration};

use gotoassist_grpc::{
    clock::Clock,
    config::{QuotaScope, UpstreamConfig},
    credential::Credential,
    feed,
    grpc::caller::Callers,
    traffic::{Client, RequestContext},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{Mechanism, Trouble};
use crate::{
    kit::{
        request::{self, authorized},
        server::Server,
        stub::{Step, Stub, answer, ok},
    },
    upstream::{
        credential::{service_client, token_endpoint},
        id,
    },
};

/// How long the vendor takes for a normal session.
const LATENCY: Duration = Duration::from_millis(300);

/// How long the vendor takes for a session whose id begins with `slow`.
const SLOW: Duration = Duration::from_millis(1_500);

/// The duration of a world.
const AGE: Duration = Duration::from_secs(21);

/// The results of the other callers.
#[derive(Default)]
pub struct Outcomes {
    pub failed: usize,
    latencies: Vec<Duration>,
}

impl Outcomes {
    pub fn calls(&self) -> usize {
        self.latencies.len()
    }

    /// The 95th percentile of the latencies.
    pub fn p95(&self) -> Duration {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        latencies[(latencies.len() * 95).div_ceil(100) - 1]
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failed, .. } = self;
        write!(f, "{failed} of {} calls failed, p95 {:?}", self.calls(), self.p95())
    }
}

/// Runs the world, with or without the trouble, and measures the other callers.
pub async fn run(mechanism: Mechanism, trouble: Trouble, is_troubled: bool) -> Outcomes {
    let vendor = Stub::scripted(vendor()).await;
    let endpoint = token_endpoint().await;
    let client = service_client(&vendor, &endpoint, |config| configure(config, mechanism));
    let end = Instant::now() + AGE;

    let mut others = JoinSet::new();
    for other in others_beside(mechanism, trouble) {
        others.spawn(other.live(client.clone(), end));
    }
    let mut troublemakers = JoinSet::new();
    if is_troubled {
        // By then, the other callers have made their first calls.
        sleep(Duration::from_secs(1)).await;
        make_trouble(mechanism, trouble, &client, &mut troublemakers);
    }
    let outcomes = others.join_all().await;
    troublemakers.shutdown().await;
    outcomes.into_iter().fold(Outcomes::default(), |mut all, one| {
        all.failed += one.failed;
        all.latencies.extend(one.latencies);
        all
    })
}

fn configure(config: &mut UpstreamConfig, mechanism: Mechanism) {
    (config.rps, config.burst) = (100.0, 100);
    match mechanism {
        Mechanism::Breaker => config.retries = 0,
        // Otherwise the breaker ends the retries of a bad session before the budget is empty.
        Mechanism::RetryBudget => config.breaker_failures = 0,
        Mechanism::QuotaQueue | Mechanism::Coalescing => (config.rps, config.burst) = (8.0, 8),
        Mechanism::FinishedCache => {}
        Mechanism::Hold => config.quota_scope = QuotaScope::Credential,
    }
}

/// Answers according to the first letters of the session's id.
fn vendor() -> impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static {
    let seen = Mutex::new(HashSet::new());
    move |number, head| {
        let id = head.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap();
        let is_first = seen.lock().unwrap().insert(id.to_owned());
        let session = |status: &str, notes: &str| {
            ok(format!(r#"{{"sessionId":"{id}","status":"{status}","notes":"{notes}"}}"#))
        };
        let kind =
            if head.contains("poisoned") { "refused" } else { id.split('-').next().unwrap() };
        let answer = match (kind, is_first) {
            ("bad", _) | ("once", true) | ("turned", false) => answer("502 x", &[], ""),
            ("refused", _) => answer("503 x", &[], ""),
            ("held", _) | ("stopped", false) => answer("429 x", &["retry-after: 600"], ""),
            ("done", _) => session("complete", ""),
            ("large", _) => session("complete", &"x".repeat(128 * 1024)),
            // Each answer differs, so that a watcher gets a message for each.
            _ => session("active", &number.to_string()),
        };
        let latency = if kind == "slow" { SLOW } else { LATENCY };
        [vec![Step::Wait(latency)], answer].concat()
    }
}

/// A client that calls with the service's credential.
fn of_service(name: &str) -> Credential {
    Credential::Service(by_token(name).id())
}

/// A client that brings its own credential.
fn by_token(name: &str) -> Credential {
    Credential::from_authorization(&format!("Bearer {name}")).unwrap()
}

/// A caller that must not notice the trouble.
struct Other {
    credential: Credential,
    /// The session of each call.
    session: Box<dyn Fn(usize) -> String + Send>,
    /// Time between the starts of two calls, unless a call takes longer.
    interval: Duration,
}

impl Other {
    async fn live(self, client: Client, end: Instant) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for number in 0.. {
            let began_at = Instant::now();
            if began_at >= end {
                break;
            }
            let answer = call(&client, &self.credential, &(self.session)(number), 5).await;
            outcomes.failed += usize::from(!answer);
            outcomes.latencies.push(began_at.elapsed());
            sleep_until(began_at + self.interval).await;
        }
        outcomes
    }
}

async fn call(client: &Client, credential: &Credential, session: &str, seconds: u64) -> bool {
    let deadline = Some(Instant::now() + Duration::from_secs(seconds));
    let terms = RequestContext { deadline, ..RequestContext::default() };
    client.session(credential, &id(session), terms).await.is_ok()
}

/// The callers that must not notice the trouble. If the trouble is a bad session, they include its
/// own caller with other sessions.
fn others_beside(mechanism: Mechanism, trouble: Trouble) -> Vec<Other> {
    let other = |credential, milliseconds, session: fn(usize) -> String| {
        let interval = Duration::from_millis(milliseconds);
        Other { credential, session: Box::new(session), interval }
    };
    let well = |number: usize| format!("well-{}", number % 3);
    let mut callers = vec![of_service("b"), of_service("c"), by_token("d")];
    if trouble == Trouble::Session {
        callers.push(troublemaker(mechanism, trouble));
    }
    match mechanism {
        // The calls are so rare that a bad session fails often between two of them.
        Mechanism::Breaker => callers.into_iter().map(|who| other(who, 3_000, well)).collect(),
        Mechanism::RetryBudget => callers
            .into_iter()
            .enumerate()
            .map(|(caller, credential)| Other {
                credential,
                session: Box::new(move |number| format!("once-{caller}-{number}")),
                interval: Duration::from_secs(5),
            })
            .collect(),
        // There are so many callers that all wait for their turns. One more caller takes only one
        // more turn.
        Mechanism::QuotaQueue => (0..10)
            .map(|caller| Other {
                credential: of_service(&format!("q{caller}")),
                session: Box::new(move |number| format!("well-{caller}-{}", number % 3)),
                interval: Duration::ZERO,
            })
            .collect(),
        Mechanism::Coalescing => ["b", "c"]
            .map(|name| other(of_service(name), 3_000, |number| format!("slow-{}", number % 2)))
            .into(),
        Mechanism::FinishedCache => callers
            .into_iter()
            .map(|who| other(who, 100, |number| format!("done-{}", number % 3)))
            .collect(),
        // A pause of the vendor applies to a credential, so the other callers have others.
        Mechanism::Hold => {
            callers.truncate(3);
            callers.into_iter().map(|who| other(who, 500, well)).collect()
        }
    }
}

/// The credential of the trouble. Where possible it is the service's credential, which the other
/// callers use too.
fn troublemaker(mechanism: Mechanism, trouble: Trouble) -> Credential {
    match (mechanism, trouble) {
        (_, Trouble::Credential) => by_token("poisoned"),
        (Mechanism::Hold, _) => by_token("held"),
        _ => of_service("x"),
    }
}

fn make_trouble(mechanism: Mechanism, trouble: Trouble, client: &Client, tasks: &mut JoinSet<()>) {
    let kind = match (mechanism, trouble) {
        (Mechanism::Hold, Trouble::SlowReader) => "stopped",
        (Mechanism::Breaker | Mechanism::RetryBudget, Trouble::SlowReader) => "turned",
        (Mechanism::Hold, _) => "held",
        (Mechanism::Breaker, Trouble::ShortDeadlines) | (Mechanism::Coalescing, _)
            if trouble != Trouble::Session =>
        {
            "slow"
        }
        (Mechanism::FinishedCache, _) if trouble != Trouble::Session => "large",
        (Mechanism::QuotaQueue, _) if trouble != Trouble::Session => "well",
        _ => "bad",
    };
    let (count, seconds, pause) = match trouble {
        Trouble::SlowReader => return watch_without_reading(mechanism, kind, client, tasks),
        Trouble::Session => (1, 30, 50),
        Trouble::Credential => (10, 30, 50),
        Trouble::ShortDeadlines => (10, 1, 50),
        Trouble::ThousandCalls => (1_000, 30, 1_000),
    };
    for number in 0..count {
        let client = client.clone();
        let credential = troublemaker(mechanism, trouble);
        tasks.spawn(async move {
            for round in 0.. {
                // The large ones are always different sessions. The others repeat.
                let number = if kind == "large" { round * count + number } else { number };
                // The last of a thousand calls ask for the sessions of the other callers.
                let number = if kind == "slow" { count - 1 - number } else { number };
                call(&client, &credential, &format!("{kind}-{number}"), seconds).await;
                sleep(Duration::from_millis(pause)).await;
            }
        });
    }
}

/// Opens watches of the real service, and reads none of their messages.
fn watch_without_reading(
    mechanism: Mechanism,
    kind: &'static str,
    client: &Client,
    tasks: &mut JoinSet<()>,
) {
    let callers = if mechanism == Mechanism::Hold { Callers::Own } else { Callers::Anyone };
    let read = feed::read(client.clone());
    let server = Server::assemble(client.clone(), read, None, callers, Clock::system(), |_, _| {});
    let connection = server.client();
    // The server runs until the tasks end.
    tasks.spawn(async move {
        let _server = server;
        std::future::pending::<()>().await;
    });
    // The polls use quota whether the client reads or not.
    let watches = if mechanism == Mechanism::QuotaQueue { 3 } else { 20 };
    for number in 0..watches {
        let mut client = connection.clone();
        tasks.spawn(async move {
            let message = request::watch(&format!("{kind}-{number}"));
            let _unread = client.watch_session(authorized("held", message)).await.unwrap();
            std::future::pending::<()>().await;
        });
    }
}
