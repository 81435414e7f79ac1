//! Builds the parts of the service from its configuration.

use std::{path::Path, sync::Arc};

use secrecy::ExposeSecret as _;

use super::{
    Error,
    tls::{self, Tls},
};
use crate::{
    clock::Clock,
    config::{ServeConfig, secret::Secret, serve::PollConfig},
    feed::{self, Ask, Feed, Key, Pace},
    grpc::{
        Service,
        caller::Callers,
        resume_token::Sealer,
        watch::{self, Watches},
    },
    rest::{self, token::TokenSource},
};

/// The service, and what keeps its credential fresh.
pub(super) fn service(config: &ServeConfig) -> Result<(Service, Option<TokenSource>), Error> {
    let clock = Clock::system();
    let http = rest::http_client(&config.upstream, &config.credentials.token_url)?;
    let tokens = TokenSource::new(&config.credentials, http);
    let client = rest::Client::new(&config.upstream, tokens.clone(), clock)?;
    let watches = Watches::new(watch::Settings {
        max_age: config.watch.max_stream_age,
        stall_limit: config.watch.slow_watcher_limit,
        confirm_after: config.watch.confirm_after,
        max_watches: config.limits.max_watches,
    });
    let service = Service {
        feed: Feed::new(read(client.clone()), feed_settings(&config.watch), clock),
        client,
        watches,
        sealer: Arc::new(sealer(config)?),
        clock,
        callers: Arc::new(Callers::new(&config.credentials)?),
        call_limit: config.limits.call_limit,
    };
    Ok((service, tokens))
}

/// The certificate to serve with, if there is one.
pub(super) async fn tls(config: &ServeConfig) -> Result<Option<Arc<Tls>>, Error> {
    let (Some(certificate), Some(key)) = (&config.tls.tls_cert, &config.tls.tls_key) else {
        return Ok(None);
    };
    let client_ca = config.credentials.client_ca.as_ref();
    let files = tls::Files {
        certificate: certificate.clone(),
        key: key.clone(),
        client_ca: client_ca
            .map(|path| tls::ClientCa { certificates: path.clone(), is_required: true }),
    };
    Ok(Some(Arc::new(Tls::load(files).await?)))
}

/// How the feed asks the vendor.
fn read(client: rest::Client) -> impl Fn(Key, Ask) -> feed::BoxedReply + Send + Sync {
    move |Key { credential, session }, ask| {
        let client = client.clone();
        Box::pin(async move {
            match ask {
                Ask::First(terms) => client.session(&credential, &session, terms).await,
                Ask::Next(urgency) => client.poll_session(&credential, &session, urgency).await,
            }
        })
    }
}

fn feed_settings(config: &PollConfig) -> feed::Settings {
    feed::Settings {
        pace: Pace {
            not_started: config.poll_not_started,
            waiting: config.poll_waiting,
            active: config.poll_active,
            ended: config.poll_ended,
        },
        confirm_after: config.confirm_after,
        stale_after: config.stale_after,
        outage_limit: config.outage_limit,
        linger: config.poll_linger,
    }
}

fn sealer(config: &ServeConfig) -> Result<Sealer, Error> {
    let watch = &config.watch;
    let secret = Secret::of(watch.resume_key.as_ref(), watch.resume_key_file.as_ref());
    let Some(secret) = secret else { return Ok(Sealer::new(None)) };
    let path = secret.path().map_or(Path::new("--resume-key"), |path| path.as_path());
    let key = secret.read().map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(Sealer::new(Some(key.expose_secret())))
}
