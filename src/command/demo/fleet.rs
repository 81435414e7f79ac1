//! Three replicas that act as one client of the vendor.

use std::{future::pending, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    super::{FAILED, client, output, status},
    TOKEN, callback, screen, session,
};
use crate::{
    config::{ConnectionConfig, DemoConfig},
    proto::{SessionStatus, WatchSessionRequest, WatchSessionResponse},
    server::Server,
    simulator::{Control, Simulator},
};

const REPLICAS: usize = 3;

/// A fleet whose Redis is new sends nothing for some seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message that a watcher of a replica has received, or why its watch has failed.
struct Heard {
    replica: usize,
    message: Result<WatchSessionResponse, u8>,
}

/// A replica and the means to stop it.
struct Replica {
    url: String,
    stop: CancellationToken,
}

/// Watches one session at each of three replicas, and stops the one that polls. `Err` is the exit
/// status.
pub async fn run(simulator: Simulator, fleet_url: &Url) -> Result<(), u8> {
    let fail = |error: &dyn std::error::Error| output::fail(FAILED, &output::whole(error));
    output::text(
        &"GoToAssist Remote Support over gRPC: three replicas that act as one client of the vendor.\n",
    )?;
    let (vendor, control) = (simulator.rest_url(), simulator.control());
    screen::pair("vendor, simulated", &vendor)?;
    // Any text is a key if it is long enough.
    let key = callback::Secret::new().map_err(|error| fail(&error))?;
    let mut parts = JoinSet::new();
    parts.spawn(simulator.run(pending()));
    let mut replicas = Vec::new();
    for number in 1..=REPLICAS {
        let config = DemoConfig::replica(&vendor, fleet_url, key.path());
        let config = config.map_err(|error| fail(&error))?;
        let server = Server::bind(config).await.map_err(|error| fail(&error))?;
        let url = server.local_addr().map(|address| format!("http://{address}"));
        let replica = Replica { url: url.unwrap_or_default(), stop: CancellationToken::new() };
        screen::pair(&format!("replica {number}"), &replica.url)?;
        let stopped = replica.stop.clone().cancelled_owned();
        parts.spawn(async move {
            let _ = server.run(stopped).await;
        });
        replicas.push(replica);
    }
    session::rest(&control).map_err(|error| output::fail(FAILED, &error))?;
    let shown = watch(&replicas, &control, fleet_url).await;
    for replica in &replicas {
        replica.stop.cancel();
    }
    let polls = control.counters().of_session(session::ID);
    if shown.is_ok() {
        let about = format!("{polls} requests, about one a second, for {REPLICAS} watches");
        screen::head("What the vendor saw", &about)?;
    }
    shown
}

/// Watches the session at each replica until it is over.
async fn watch(replicas: &[Replica], control: &Control, fleet_url: &Url) -> Result<(), u8> {
    screen::head("WatchSession", "the same session at each replica")?;
    let (sender, mut heard) = mpsc::channel(REPLICAS);
    let mut watches = JoinSet::new();
    let start = Instant::now();
    for (place, replica) in replicas.iter().enumerate() {
        let client = client(&ConnectionConfig::bearer(replica.url.clone(), TOKEN))?;
        let sender = sender.clone();
        watches.spawn(async move {
            let request = WatchSessionRequest {
                session_id: session::ID.to_owned(),
                ..WatchSessionRequest::default()
            };
            let mut watch = client.watch(request);
            while let Some(message) = watch.next().await {
                let message = message.map_err(|failure| output::failure(&failure));
                let _ = sender.send(Heard { replica: place + 1, message }).await;
            }
        });
        if place == 0 {
            // So that the first replica polls.
            let Ok(Some(first)) = timeout(PATIENCE, heard.recv()).await else {
                let text =
                    format!("no replica may send requests: does Redis answer at {fleet_url}?");
                return Err(output::fail(FAILED, &text));
            };
            show(start, &first)?;
        }
    }
    drop(sender);
    session::put(control).map_err(|error| output::fail(FAILED, &error))?;
    let mut complete = 0;
    while let Some(message) = heard.recv().await {
        let is_stopped = replicas[message.replica - 1].stop.is_cancelled();
        if is_stopped {
            continue;
        }
        let latest = show(start, &message)?;
        if message.replica == 1 && latest == SessionStatus::Waiting {
            replicas[0].stop.cancel();
            screen::event(start.elapsed(), "STOP", "replica 1", "it polled; another one goes on")?;
        }
        complete += usize::from(message.replica > 1 && latest == SessionStatus::Complete);
        if complete == REPLICAS - 1 {
            return Ok(());
        }
    }
    Err(output::fail(FAILED, &"a watch ended before the session was over"))
}

/// Prints a message. Returns the session's status.
fn show(start: Instant, heard: &Heard) -> Result<SessionStatus, u8> {
    let message = heard.message.as_ref().map_err(|status| *status)?;
    let event = screen::event_name(message.event_type());
    let now = message.session.as_ref().map(crate::proto::Session::status).unwrap_or_default();
    let replica = format!("replica {}", heard.replica);
    screen::event(start.elapsed(), event, &status::name(now), &replica)?;
    Ok(now)
}
