//! `WatchSession`.

mod encoding;
mod slow_consumer;
mod stream;
mod watched;
mod watcher;

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Request, Response, Status};

use super::{
    Service,
    concurrency::{Limits, StreamPermit, WatchConcurrency, WatchPermit},
    deadline::Deadline,
    metric::{self, WatchMetrics},
    resume_token::{Decoded, ResumeTokenCodec},
    status,
};
use crate::{
    credential::Credential,
    feed::{Feed, Key},
    model::{Known, SessionId},
    proto::{self, encoded::EncodedWatchResponse},
};
use encoding::Encodings;
pub(super) use slow_consumer::Cut;
use slow_consumer::{Observed, SlowConsumerDetector};
pub(super) use watched::{Composer, Next, Watched};

/// The messages of one watch.
pub type Messages = Pin<Box<dyn Stream<Item = Result<EncodedWatchResponse, Status>> + Send>>;

/// How often a stream sends a heartbeat, unless its client asks for another interval.
pub(super) const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(30);
const HEARTBEAT_SHORTEST: Duration = Duration::from_secs(5);
const HEARTBEAT_LONGEST: Duration = Duration::from_mins(5);
const FOLLOW_LONGEST: Duration = Duration::from_hours(24);
/// The longest time between the last heartbeat and the caller's deadline.
const WARNING: Duration = Duration::from_millis(500);

/// How watches behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The maximum age of a watch, ± 10 %. The watch then ends, so that its client reconnects,
    /// perhaps to another server.
    pub max_age: Duration,
    /// How long a message may wait until the watcher reads it.
    pub slow_consumer_limit: Duration,
    /// The greatest number of concurrent watches in this process.
    pub max_watches: usize,
    /// The greatest number of watches of one caller.
    pub max_per_caller: usize,
    /// The greatest number of watches of one session with one credential.
    pub max_per_session: usize,
    /// The greatest number of concurrent streams with many watches.
    pub max_streams: usize,
    /// The greatest number of streams with many watches of one caller.
    pub max_streams_per_caller: usize,
    /// The greatest number of sessions on one stream.
    pub max_per_stream: usize,
}

/// What all watches share.
#[derive(Clone, Debug)]
pub struct Watches {
    settings: Settings,
    concurrency: WatchConcurrency,
    slow_consumers: SlowConsumerDetector,
    encodings: Encodings,
    metrics: WatchMetrics,
    feed: Feed,
    drain: CancellationToken,
}

impl Watches {
    /// Creates an empty set of watches. They get updates from `feed`.
    pub fn new(settings: Settings, feed: Feed) -> Self {
        metric::describe();
        let limits = Limits {
            in_process: settings.max_watches,
            per_caller: settings.max_per_caller,
            per_session: settings.max_per_session,
            streams: settings.max_streams,
            streams_per_caller: settings.max_streams_per_caller,
        };
        Self {
            concurrency: WatchConcurrency::new(limits),
            slow_consumers: SlowConsumerDetector::new(settings.slow_consumer_limit),
            encodings: Encodings::default(),
            metrics: WatchMetrics::new(),
            feed,
            drain: CancellationToken::new(),
            settings,
        }
    }

    /// Ends every watch with a heartbeat and `SERVER_DRAINING`. Refuses new watches with the same
    /// error.
    pub fn drain(&self) {
        // The order matters: the feed tells a watch that passes the check just before the
        // cancellation.
        self.drain.cancel();
        self.feed.close();
    }

    /// Returns the number of open watches.
    pub fn count(&self) -> usize {
        self.concurrency.in_use()
    }

    /// Cuts off slow consumers. Runs until it is dropped.
    pub async fn cut_slow_consumers(&self) {
        self.slow_consumers.cut().await;
    }

    /// Returns what the messages of watches are composed with.
    pub(super) fn composer(&self, service: &Service) -> Composer {
        Composer {
            resume_tokens: service.resume_tokens.clone(),
            session_digests: service.session_digests.clone(),
            clock: service.clock,
            metrics: self.metrics.clone(),
            encodings: self.encodings.clone(),
        }
    }

    fn admit(&self, key: &Key) -> Result<WatchPermit, Status> {
        if self.drain.is_cancelled() {
            return Err(status::draining());
        }
        self.concurrency.admit(key)
    }

    /// Admits a stream for many watches.
    pub(super) fn admit_stream(&self, credential: &Credential) -> Result<StreamPermit, Status> {
        if self.drain.is_cancelled() {
            return Err(status::draining());
        }
        self.concurrency.admit_stream(credential)
    }

    /// The greatest number of sessions on one stream.
    pub(super) fn max_per_stream(&self) -> usize {
        self.settings.max_per_stream
    }

    /// Waits for the drain.
    pub(super) fn drained(&self) -> WaitForCancellationFutureOwned {
        self.drain.clone().cancelled_owned()
    }

    /// Returns the age at which a stream ends, so that its client reconnects.
    pub(super) fn random_age(&self) -> Duration {
        self.settings.max_age.mul_f64(0.9 + 0.2 * fastrand::f64())
    }

    /// Cuts off a stream that its client does not read.
    pub(super) fn observe<S>(&self, owner: Weak<dyn Cut>, messages: S) -> Observed<S> {
        self.slow_consumers.observe(owner, messages)
    }
}

pub(super) async fn watch(
    service: &Service,
    request: Request<proto::WatchSessionRequest>,
) -> Result<Response<Messages>, Status> {
    let message = request.get_ref();
    let session = session_id(message)?;
    service.note_session(&request, &session);
    let known = known(&service.resume_tokens, &session, message)?;
    let heartbeat_interval = heartbeat_interval(message.heartbeat_interval)?;
    let follow_after_end = follow_after_end(message.follow_after_end)?;
    let key = Key { credential: service.credential(&request)?, session };
    let permit = service.watches.admit(&key)?;

    let context = service.opening_context(&request);
    let subscription = tokio::select! {
        biased;
        () = service.watches.drain.cancelled() => return Err(status::draining()),
        // Subscribes before the headers are sent, so that a watch that cannot start fails like a
        // unary call.
        subscription = service.feed.subscribe(&key, context, known.as_deref()) => {
            let digests = &service.session_digests;
            subscription.map_err(|error| status::of_session(&error, &key.session, digests))?
        }
    };

    let now = Instant::now();
    let subscriber = Arc::downgrade(&subscription.subscriber());
    let watch = stream::Watch {
        composer: service.watches.composer(service),
        watched: Watched::new(key.session, subscription, known, follow_after_end),
        heartbeat_interval,
        last_message: now,
        rotation: now + service.watches.random_age(),
        deadline: request.extensions().get().map(|Deadline(at)| *at),
        has_warned: false,
        _permit: permit,
    };
    let messages = service.watches.observe(subscriber, stream::messages(watch));
    Ok(Response::new(Box::pin(messages)))
}

/// Returns the checked id of the session.
pub(super) fn session_id(message: &proto::WatchSessionRequest) -> Result<SessionId, Status> {
    status::checked("session_id", message.session_id.parse())
}

/// Returns what the watcher knows from an earlier watch, according to its resume token.
pub(super) fn known(
    resume_tokens: &ResumeTokenCodec,
    session: &SessionId,
    message: &proto::WatchSessionRequest,
) -> Result<Option<Box<Known>>, Status> {
    Ok(match message.resume_token.as_str() {
        "" => None,
        token => match status::checked_token(resume_tokens.decode(session, token))? {
            Decoded::Known(known) => Some(known),
            Decoded::OtherVersion => None,
        },
    })
}

/// Returns the interval of heartbeats.
pub(super) fn heartbeat_interval(asked: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let asked = duration("heartbeat_interval", asked)?;
    Ok(if asked.is_zero() {
        HEARTBEAT_DEFAULT
    } else {
        asked.clamp(HEARTBEAT_SHORTEST, HEARTBEAT_LONGEST)
    })
}

/// Returns how long the watch goes on after the end of the session.
pub(super) fn follow_after_end(asked: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let asked = duration("follow_after_end", asked)?;
    if asked > FOLLOW_LONGEST {
        return Err(status::invalid("follow_after_end", "must not be longer than 24 hours"));
    }
    Ok(asked)
}

/// Returns when the last heartbeat before the caller's deadline is due. Of a short time since `since`,
/// it leaves three quarters.
pub(super) fn warning_at(deadline: Instant, since: Instant) -> Instant {
    let left = deadline.saturating_duration_since(since);
    deadline.checked_sub(WARNING.min(left / 4)).unwrap_or(deadline)
}

fn duration(field: &'static str, asked: Option<prost_types::Duration>) -> Result<Duration, Status> {
    Duration::try_from(asked.unwrap_or_default())
        .map_err(|_| status::invalid(field, "must not be negative"))
}
