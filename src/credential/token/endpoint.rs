//! The token endpoint: exchanges the service's secrets for an access token.

use std::{io, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use tokio::time::{Instant, sleep, timeout};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::{
    response::{self, AccessToken, Cause, RefreshError},
    secret_store::SecretStore,
    share::{Place, Shared, Step},
};
use crate::{
    clock::Clock,
    config::credentials::{CredentialsConfig, Grant},
    wire::{Error, HttpClient, status::retry_after},
};

/// The time limit of one request to the token endpoint.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest response that is read, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// How long to wait for the body of a transient error.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// After a refusal of a secret: how long to wait for a new secret in its file, and how often to
/// look. Another replica may have used the refresh token, but not have written the new one yet.
const NEW_SECRET_TIMEOUT: Duration = Duration::from_secs(3);
const NEW_SECRET_INTERVAL: Duration = Duration::from_millis(150);

const REFRESH_TOKEN: &str = "refresh_token";

/// Fetches access tokens from the token endpoint.
#[derive(Debug)]
pub(crate) struct TokenEndpoint {
    http: HttpClient,
    uri: Uri,
    client_id: String,
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
            http,
            uri: config.token_url.as_str().parse().ok()?,
            client_id: config.client_id.clone()?,
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
        let issued_at = Instant::now();
        let unreadable = |error: io::Error| Cause::Secret(error.kind());
        let client_secret = self.client_secret.current().map_err(unreadable)?;
        let secret = self.secret.current().map_err(unreadable)?;
        let shared = self.shared.as_ref();
        let secret = shared.and_then(|shared| shared.newer(&secret)).unwrap_or(secret);
        let exchange = self.post(self.request(&client_secret, &secret)?);
        let exchange = timeout(REQUEST_TIMEOUT, exchange).await;
        let (status, headers, body) = exchange.unwrap_or(Err(Cause::Timeout))?;
        let (access_token, refresh_token) =
            response::read(status, &body, issued_at).map_err(|cause| RefreshError {
                cause,
                retry_after: retry_after(&headers, Clock::system().now()),
            })?;
        if let Some(shared) = shared {
            shared.put(claim, &secret, &access_token, refresh_token.as_ref());
        }
        if self.grant_type == REFRESH_TOKEN {
            self.secret.store(refresh_token).await;
        }
        Ok(access_token)
    }

    /// A token request, with the client id and secret as Basic authentication (RFC 6749 §2.3.1).
    fn request(
        &self,
        client_secret: &SecretString,
        secret: &SecretString,
    ) -> Result<Request<Vec<u8>>, Cause> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", self.grant_type)
            .append_pair(self.parameter, secret.expose_secret())
            .finish();
        let encoded = |text: &str| -> String { byte_serialize(text.as_bytes()).collect() };
        let (id, password) = (encoded(&self.client_id), encoded(client_secret.expose_secret()));
        let basic = STANDARD.encode(Zeroizing::new(format!("{id}:{password}")).as_bytes());
        let basic = Zeroizing::new(format!("Basic {basic}"));
        // Base64 is always a valid header value.
        let mut basic = HeaderValue::from_str(&basic).map_err(|_| Cause::Malformed)?;
        basic.set_sensitive(true);
        Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, basic)
            .body(form.into_bytes())
            .map_err(|_| Cause::Malformed)
    }

    /// Sends the request and reads the response.
    async fn post(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<(StatusCode, HeaderMap, Zeroizing<Vec<u8>>), Cause> {
        let cause = |error: Error| error.connection.map_or(Cause::Malformed, Cause::Connect);
        let mut response = self.http.send(request).await.map_err(cause)?;
        let (status, headers) = (response.status(), response.take_headers());
        let body = if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            // The status and Retry-After are used even if the body cannot be read.
            response.partial_body(MAX_BODY, ERROR_BODY_TIMEOUT).await
        } else {
            response.body(MAX_BODY).await.map_err(cause)?
        };
        Ok((status, headers, Zeroizing::new(body)))
    }
}
