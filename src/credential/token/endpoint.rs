//! The token endpoint: exchanges the service's secrets for an access token.

use std::{io, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep};

use super::{
    exchange::Exchange,
    response::{AccessToken, Cause, RefreshError},
    secret_store::SecretStore,
    share::{Place, Shared, Step},
};
use crate::{
    config::credentials::{CredentialsConfig, Grant},
    wire::HttpClient,
};

/// After a refusal of a secret: how long to wait for a new secret in its file, and how often to
/// look. Another replica may have used the refresh token, but not have written the new one yet.
const NEW_SECRET_TIMEOUT: Duration = Duration::from_secs(3);
const NEW_SECRET_INTERVAL: Duration = Duration::from_millis(150);

const REFRESH_TOKEN: &str = "refresh_token";

/// Fetches access tokens from the token endpoint.
#[derive(Debug)]
pub(crate) struct TokenEndpoint {
    exchange: Exchange,
    client_secret: SecretStore,
    grant_type: &'static str,
    /// The name of the form parameter that has the secret.
    parameter: &'static str,
    secret: SecretStore,
    /// Where replicas share their tokens, if they do.
    shared: Option<Shared>,
}

impl TokenEndpoint {
    /// `None` if the configuration has problems (see [`CredentialsConfig::problems`]).
    pub(crate) fn new(
        config: &CredentialsConfig,
        http: HttpClient,
        place: Option<Arc<dyn Place>>,
    ) -> Option<Self> {
        let (grant_type, parameter, secret) = match config.grant()? {
            Grant::RefreshToken(secret) => (REFRESH_TOKEN, REFRESH_TOKEN, secret),
            Grant::PersonalAccessToken(secret) => ("personal_access_token", "pat", secret),
        };
        Some(Self {
            exchange: Exchange::new(http, &config.token_url, config.client_id.clone()?)?,
            client_secret: SecretStore::new(config.client_secret()?),
            grant_type,
            parameter,
            secret: SecretStore::new(secret),
            shared: place.map(Shared::new),
        })
    }

    /// Fetches an access token, and stores the new refresh token that may come with it. If another
    /// replica has fetched one, returns that.
    pub(crate) async fn refresh(self: Arc<Self>) -> Result<AccessToken, RefreshError> {
        let (Some(shared), Ok(secret)) = (&self.shared, self.secret.current()) else {
            return self.fetch(None).await;
        };
        match shared.next_step(&secret).await {
            Step::Use(access_token) => Ok(access_token),
            Step::Refresh(claim) => {
                let result = self.fetch(claim).await;
                if result.is_err() {
                    shared.release(claim).await;
                }
                result
            }
        }
    }

    /// Fetches an access token with this claim on the tokens that replicas share.
    async fn fetch(&self, claim: Option<u64>) -> Result<AccessToken, RefreshError> {
        let deadline = Instant::now() + NEW_SECRET_TIMEOUT;
        loop {
            let result = self.attempt(claim).await;
            let is_refused = matches!(result, Err(RefreshError { cause: Cause::Refused(_), .. }));
            // Another replica may have used the new secret too, so this may repeat.
            if !is_refused || !self.wait_for_secret(deadline).await {
                return result;
            }
        }
    }

    /// Waits for a new secret, if another replica may write one. Returns whether there is one.
    async fn wait_for_secret(&self, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            if self.has_new_secret() {
                return true;
            }
            if !self.secret.is_in_file() {
                break;
            }
            sleep(NEW_SECRET_INTERVAL).await;
        }
        false
    }

    /// Whether a secret has changed in its file since the latest attempt.
    pub(crate) fn has_new_secret(&self) -> bool {
        self.secret.has_changed() || self.client_secret.has_changed()
    }

    async fn attempt(&self, claim: Option<u64>) -> Result<AccessToken, RefreshError> {
        let unreadable = |error: io::Error| Cause::Secret(error.kind());
        let client_secret = self.client_secret.current().map_err(unreadable)?;
        let secret = self.secret.current().map_err(unreadable)?;
        let shared = self.shared.as_ref();
        let secret = shared.and_then(|shared| shared.newer(&secret)).unwrap_or(secret);
        let form = [("grant_type", self.grant_type), (self.parameter, secret.expose_secret())];
        let (access_token, refresh_token) = self.exchange.send(&client_secret, &form).await?;
        if let Some(shared) = shared {
            shared.put(claim, &secret, &access_token, refresh_token.as_ref());
        }
        if self.grant_type == REFRESH_TOKEN {
            self.secret.store(refresh_token).await;
        }
        Ok(access_token)
    }
}
