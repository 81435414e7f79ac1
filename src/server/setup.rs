//! Builds the parts of the service from its configuration.

use std::{path::Path, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    Error,
    tls::{self, Tls},
};
use crate::{
    callback::{Callbacks, Secrets},
    clock::Clock,
    config::{
        ServeConfig,
        secret::Secret,
        serve::{PollConfig, Sweep},
    },
    credential::token::TokenSource,
    feed::{self, Feed, HintSource, PollIntervals},
    fleet::{Fleet, polls::SharedPolls},
    grpc::{
        Service,
        caller::Callers,
        concurrency::CallConcurrency,
        page_token::PageTokenCodec,
        resume_token::ResumeTokenCodec,
        session_digest::SessionDigests,
        watch::{self, Watches},
    },
    model::SessionId,
    trace::Tracer,
    traffic, wire,
};

/// Builds the gRPC service.
pub(super) fn service(config: &ServeConfig) -> Result<Service, Error> {
    let clock = Clock::system();
    let token_client = token_url(config).map(|url| wire::HttpClient::new(&config.upstream, url));
    let client_id = config.credentials.client_id.as_deref().unwrap_or_default();
    let fleet = Fleet::new(&config.fleet, &config.listen.to_string())?;
    let place = fleet.token_place(client_id)?;
    let tokens = token_client
        .transpose()?
        .and_then(|http| TokenSource::new(&config.credentials, http, place));
    let scope = format!("{} {client_id}", config.upstream.url);
    let polls = fleet.polls(scope, clock)?;
    let client = traffic::Client::in_fleet(&config.upstream, tokens, clock, fleet)?;
    let identities = client.identities().clone();
    let read = feed::read(client.clone());
    let list = match config.watch.sweep {
        Sweep::Auto => Some(feed::list(client.clone())),
        Sweep::Off => None,
    };
    let feed = Feed::new(read, list, feed_settings(&config.watch, polls), clock, identities);
    let token_key = token_key(config)?;
    let token_key = token_key.as_ref().map(SecretString::expose_secret);
    Ok(Service {
        watches: Watches::new(watch_settings(config), feed.clone()),
        feed,
        client,
        concurrency: CallConcurrency::new(config.limits.max_calls),
        resume_tokens: Arc::new(ResumeTokenCodec::new(token_key)),
        session_digests: SessionDigests::new(token_key),
        page_tokens: Arc::new(PageTokenCodec::new(token_key)),
        clock,
        callers: Arc::new(Callers::new(&config.credentials)?),
        default_deadline: config.limits.default_deadline,
    })
}

/// Builds the endpoint for callbacks, if there is one.
pub(super) fn callbacks(
    config: &ServeConfig,
    service: &Service,
) -> Result<Option<Callbacks>, Error> {
    let Some((_, path)) = config.callback.endpoint() else { return Ok(None) };
    let (secrets, feed) = (Secrets::open(path)?, service.feed.clone());
    let hint = move |session: &SessionId| feed.hint(session, HintSource::Callback);
    Ok(Some(Callbacks::new(secrets, hint)))
}

/// Returns every problem that prevents the parts from being built.
pub(super) async fn problems(config: &ServeConfig) -> Vec<Error> {
    let mut problems: Vec<_> = config.problems().into_iter().map(Error::Config).collect();
    if let Some(files) = tls_files(config) {
        problems.extend(tls::problems(&files).await.into_iter().map(Error::Tls));
    }
    let urls = [Some(&config.upstream.url), token_url(config)].into_iter().flatten();
    let mut clients = urls.map(|url| wire::HttpClient::new(&config.upstream, url));
    // Both clients would fail for the same reason.
    problems.extend(clients.find_map(Result::err).map(Error::Upstream));
    problems.extend(Callers::new(&config.credentials).err().map(Error::CallerTokens));
    problems.extend(Fleet::problem(&config.fleet).map(Error::Fleet));
    let secrets = config.callback.endpoint().map(|(_, path)| Secrets::open(path));
    problems.extend(secrets.and_then(Result::err).map(Error::CallbackSecrets));
    problems.extend(token_key(config).err());
    problems.extend(Tracer::problem(&config.trace).map(Error::Trace));
    problems
}

/// Loads the certificate to serve with, if there is one.
pub(super) async fn tls(config: &ServeConfig) -> Result<Option<Arc<Tls>>, Error> {
    Ok(match tls_files(config) {
        Some(files) => Some(Arc::new(Tls::load(files).await?)),
        None => None,
    })
}

fn tls_files(config: &ServeConfig) -> Option<tls::Files> {
    let client_ca = config.credentials.client_ca.as_ref();
    Some(tls::Files {
        certificate: config.tls.tls_cert.clone()?,
        key: config.tls.tls_key.clone()?,
        client_ca: client_ca
            .map(|path| tls::ClientCa { certificates: path.clone(), is_required: true }),
    })
}

/// Returns the URL where the service gets its tokens. `None` if the service has no credential.
fn token_url(config: &ServeConfig) -> Option<&Url> {
    config.credentials.grant().map(|_| &config.credentials.token_url)
}

/// The greatest number of concurrent watches of one session with one credential. It is the same as
/// the default for all sessions.
const MAX_WATCHES_PER_SESSION: usize = 100_000;

fn watch_settings(config: &ServeConfig) -> watch::Settings {
    watch::Settings {
        max_age: config.watch.max_stream_age,
        slow_consumer_limit: config.watch.slow_watcher_limit,
        max_watches: config.limits.max_watches,
        max_per_caller: config.limits.max_watches_per_caller,
        max_per_session: MAX_WATCHES_PER_SESSION,
        max_streams: config.limits.max_session_streams,
        max_streams_per_caller: config.limits.max_session_streams_per_caller,
        max_per_stream: config.limits.max_sessions_per_stream,
    }
}

fn feed_settings(config: &PollConfig, fleet: SharedPolls) -> feed::Settings {
    feed::Settings {
        intervals: PollIntervals {
            not_started: config.poll_not_started,
            waiting: config.poll_waiting,
            active: config.poll_active,
            ended: config.poll_ended,
        },
        outage_limit: config.outage_limit,
        fleet,
        ..feed::Settings::default()
    }
}

/// Reads the key of resume tokens and page tokens, if there is one.
fn token_key(config: &ServeConfig) -> Result<Option<SecretString>, Error> {
    let watch = &config.watch;
    let secret = Secret::of(watch.resume_key.as_ref(), watch.resume_key_file.as_ref());
    let Some(secret) = secret else { return Ok(None) };
    let path = secret.path().map_or(Path::new("--resume-key"), |path| path.as_path());
    let key = secret.read().map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(Some(key))
}
