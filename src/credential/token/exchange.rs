//! One request to the token endpoint: exchanges a grant for an access token.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tokio::time::{Instant, timeout};
use url::{
    Url,
    form_urlencoded::{Serializer, byte_serialize},
};

use super::response::{self, AccessToken, Cause, RefreshError};
use crate::{
    clock::Clock,
    wire::{Error, HttpClient, status::retry_after},
};

/// The time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest response that is read, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// How long to wait for the body of a transient error.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// The token endpoint, and the OAuth client that asks it.
#[derive(Debug)]
pub(crate) struct Exchange {
    http: HttpClient,
    uri: Uri,
    client_id: String,
}

impl Exchange {
    /// `None` if the URL cannot be used in a request.
    pub(crate) fn new(http: HttpClient, url: &Url, client_id: String) -> Option<Self> {
        Some(Self { http, uri: url.as_str().parse().ok()?, client_id })
    }

    /// The id of the client.
    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Exchanges the grant in `form` for an access token, and the refresh token that may come with it.
    pub(crate) async fn send(
        &self,
        client_secret: &SecretString,
        form: &[(&str, &str)],
    ) -> Result<(AccessToken, Option<SecretString>), RefreshError> {
        let issued_at = Instant::now();
        let exchange = self.post(self.request(client_secret, form)?);
        let exchange = timeout(REQUEST_TIMEOUT, exchange).await;
        let (status, headers, body) = exchange.unwrap_or(Err(Cause::Timeout))?;
        response::read(status, &body, issued_at).map_err(|cause| RefreshError {
            cause,
            retry_after: retry_after(&headers, Clock::system().now()),
        })
    }

    /// A token request, with the client id and secret as Basic authentication (RFC 6749 §2.3.1).
    fn request(
        &self,
        client_secret: &SecretString,
        form: &[(&str, &str)],
    ) -> Result<Request<Vec<u8>>, Cause> {
        let form = Serializer::new(String::new()).extend_pairs(form).finish();
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
