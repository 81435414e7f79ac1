//! The token endpoint: one refresh, from the secrets to a fresh access token.

use std::{io, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use tokio::time::{Instant, sleep, timeout};
use url::form_urlencoded;

use super::{
    answer::{self, Cause, Failure, Outcome},
    kept::Kept,
};
use crate::{
    clock::Clock,
    config::credentials::{CredentialsConfig, Grant},
    wire::{HttpClient, http_client::Failed, status::retry_after},
};

/// The longest time for one request to the token endpoint.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The largest answer of the token endpoint read, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// How long the body of an answer that says "not now" is waited for.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(1);

/// How long the file of a refused secret is looked at before the refusal is believed: another replica
/// may have used the refresh token, and not have written the new one yet.
const REPLACEMENT_PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked at.
const REPLACEMENT_INTERVAL: Duration = Duration::from_millis(150);

const REFRESH_TOKEN: &str = "refresh_token";

/// Fetches access tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    http: HttpClient,
    uri: Uri,
    client_id: String,
    client_secret: Kept,
    grant_type: &'static str,
    /// The name under which the form holds the secret of the grant.
    parameter: &'static str,
    secret: Kept,
}

impl Issuer {
    /// `None` if the configuration has problems (see [`CredentialsConfig::problems`]).
    pub(crate) fn new(config: &CredentialsConfig, http: HttpClient) -> Option<Self> {
        let (grant_type, parameter, secret) = match config.grant()? {
            Grant::RefreshToken(secret) => (REFRESH_TOKEN, REFRESH_TOKEN, secret),
            Grant::PersonalAccessToken(secret) => ("personal_access_token", "pat", secret),
        };
        Some(Self {
            http,
            uri: config.token_url.as_str().parse().ok()?,
            client_id: config.client_id.clone()?,
            client_secret: Kept::new(config.client_secret()?),
            grant_type,
            parameter,
            secret: Kept::new(secret),
        })
    }

    /// Fetches an access token, and keeps the new refresh token if one comes with it.
    pub(crate) async fn refresh(self: Arc<Self>) -> Outcome {
        let mut outcome = self.attempt().await;
        let until = Instant::now() + REPLACEMENT_PATIENCE;
        // More than once if several replicas were quicker.
        while matches!(outcome, Err(Failure { cause: Cause::Refused(_), .. }))
            && self.gets_new_secret(until).await
        {
            outcome = self.attempt().await;
        }
        outcome
    }

    /// Waits for a new secret, if another replica may write one. Returns whether there is one.
    async fn gets_new_secret(&self, until: Instant) -> bool {
        while Instant::now() < until {
            if self.has_new_secret() {
                return true;
            }
            if !self.secret.is_in_file() {
                break;
            }
            sleep(REPLACEMENT_INTERVAL).await;
        }
        false
    }

    /// Whether somebody put another secret into a file since the latest attempt.
    pub(crate) fn has_new_secret(&self) -> bool {
        self.secret.has_changed() || self.client_secret.has_changed()
    }

    async fn attempt(&self) -> Outcome {
        let issued_at = Instant::now();
        let unreadable = |error: io::Error| Cause::Secret(error.kind());
        let client_secret = self.client_secret.current().map_err(unreadable)?;
        let secret = self.secret.current().map_err(unreadable)?;
        let exchange = timeout(ATTEMPT, self.post(self.request(&client_secret, &secret)?));
        let (status, headers, body) = exchange.await.unwrap_or(Err(Cause::Timeout))?;
        let read = answer::read(status, &body, issued_at);
        let (fresh, refresh_token) = read.map_err(|cause| Failure {
            cause,
            retry_after: retry_after(&headers, Clock::system().now()),
        })?;
        if self.grant_type == REFRESH_TOKEN {
            self.secret.replace(refresh_token).await;
        }
        Ok(fresh)
    }

    /// A token request with the client's own authentication (RFC 6749 §2.3.1).
    fn request(
        &self,
        client_secret: &SecretString,
        secret: &SecretString,
    ) -> Result<Request<Vec<u8>>, Cause> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", self.grant_type)
            .append_pair(self.parameter, secret.expose_secret())
            .finish();
        let encoded =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
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

    /// Sends the request and reads the answer. The only place that uses the HTTP client.
    async fn post(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<(StatusCode, HeaderMap, Zeroizing<Vec<u8>>), Cause> {
        let unanswered = |failed| match failed {
            Failed::Connect(failure, _) | Failed::Broken(failure, _) => Cause::Connect(failure),
            Failed::NotHttp(_) | Failed::BadEncoding(_) | Failed::TooLong => Cause::Malformed,
        };
        let mut response = self.http.send(request).await.map_err(unanswered)?;
        let (status, headers) = (response.status(), response.take_headers());
        let body = if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            // The status and its Retry-After count, whatever becomes of the body.
            response.beginning(MAX_BODY, ERROR_BODY_PATIENCE).await
        } else {
            response.whole(MAX_BODY).await.map_err(unanswered)?
        };
        Ok((status, headers, Zeroizing::new(body)))
    }
}
