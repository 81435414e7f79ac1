//! The token endpoint: one refresh, from the secrets to a fresh access token.

use std::{io, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use http::StatusCode;
use oauth2::{
    AsyncHttpClient, Client, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, RefreshToken, StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use tokio::time::{Instant, timeout};

use super::{
    answer::{Failure, Fresh, Granted, failure},
    kept::Kept,
};
use crate::{
    config::credentials::{CredentialsConfig, Grant},
    rest::http_client::{Failed, HttpClient},
};

/// The longest time for one request to the token endpoint.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The largest answer of the token endpoint read, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Fetches access tokens.
#[derive(Debug)]
pub(super) struct Issuer {
    http: HttpClient,
    url: TokenUrl,
    client_id: ClientId,
    client_secret: Kept,
    grant: Proof,
}

/// By what the service proves itself.
#[derive(Debug)]
enum Proof {
    Refresh(Kept),
    Personal(Kept),
}

impl Issuer {
    /// `None` if the configuration has problems (see [`CredentialsConfig::problems`]).
    pub(super) fn new(config: &CredentialsConfig, http: HttpClient) -> Option<Self> {
        let grant = match config.grant()? {
            Grant::RefreshToken(secret) => Proof::Refresh(Kept::new(secret)),
            Grant::PersonalAccessToken(secret) => Proof::Personal(Kept::new(secret)),
        };
        Some(Self {
            http,
            url: TokenUrl::from_url(config.token_url.clone()),
            client_id: ClientId::new(config.client_id.clone()?),
            client_secret: Kept::new(config.client_secret()?),
            grant,
        })
    }

    /// Fetches an access token, and keeps the new refresh token if one comes with it.
    pub(super) async fn refresh(&self) -> Result<Fresh, Failure> {
        let first = self.attempt().await;
        match first {
            // Another replica that shares the file was quicker: its token is there by now.
            Err(Failure::Refused(_)) if self.has_new_secret() => self.attempt().await,
            first => first,
        }
    }

    /// Whether somebody put another secret into the file since the latest attempt.
    pub(super) fn has_new_secret(&self) -> bool {
        let (Proof::Refresh(proof) | Proof::Personal(proof)) = &self.grant;
        proof.has_changed() || self.client_secret.has_changed()
    }

    async fn attempt(&self) -> Result<Fresh, Failure> {
        let issued_at = Instant::now();
        let unreadable = |error: io::Error| Failure::Secret(error.kind());
        let client_secret = self.client_secret.current().map_err(unreadable)?;
        let granted = match &self.grant {
            Proof::Refresh(secret) => {
                let token = secret.current().map_err(unreadable)?;
                self.by_refresh_token(&client_secret, &token).await?
            }
            Proof::Personal(secret) => {
                let token = secret.current().map_err(unreadable)?;
                self.by_personal_token(&client_secret, &token).await?
            }
        };
        let fresh = granted.fresh(issued_at)?;
        if let Proof::Refresh(secret) = &self.grant {
            secret.replace(granted.new_refresh_token()).await;
        }
        Ok(fresh)
    }

    async fn by_refresh_token(
        &self,
        client_secret: &SecretString,
        token: &SecretString,
    ) -> Result<Granted, Failure> {
        let token = RefreshToken::new(token.expose_secret().to_owned());
        let client = self.client(client_secret);
        let post = Post { http: self.http.clone(), form: None };
        client.exchange_refresh_token(&token).request_async(&post).await.map_err(failure)
    }

    /// The grant is the vendor's own, so the request is made as for the nearest one of RFC 6749,
    /// which has the same headers, and gets the form of this one.
    async fn by_personal_token(
        &self,
        client_secret: &SecretString,
        token: &SecretString,
    ) -> Result<Granted, Failure> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "personal_access_token")
            .append_pair("pat", token.expose_secret())
            .finish();
        let client = self.client(client_secret);
        let post = Post { http: self.http.clone(), form: Some(Zeroizing::new(form)) };
        client.exchange_client_credentials().request_async(&post).await.map_err(failure)
    }

    fn client(&self, secret: &SecretString) -> TokenClient {
        Client::new(self.client_id.clone())
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            .set_token_uri(self.url.clone())
    }
}

/// Posts a form, over the HTTP client that the rest of the service uses.
struct Post {
    http: HttpClient,
    /// The form to send in place of the request's own.
    form: Option<Zeroizing<String>>,
}

impl<'c> AsyncHttpClient<'c> for Post {
    type Error = Failure;
    type Future = BoxFuture<'c, Result<HttpResponse, Failure>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let request = match &self.form {
            Some(form) => request.map(|_| form.as_bytes().to_vec()),
            None => request,
        };
        // An answer that is there counts, however late we look.
        timeout(ATTEMPT, self.exchange(request))
            .map(|outcome| outcome.unwrap_or(Err(Failure::Timeout)))
            .boxed()
    }
}

impl Post {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let response = self.http.send(request).await.map_err(|failed| unanswered(&failed))?;
        let status = response.status();
        let body = response.whole(MAX_BODY).await.map_err(|failed| unanswered(&failed))?;
        match status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                // Whoever refuses without a word refuses all the same.
                serde_json::from_slice::<BasicErrorResponse>(&body)
                    .map_err(|_| Failure::Refused("no reason given"))?;
            }
            _ => return Err(Failure::Status(status.as_u16())),
        }
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = status;
        Ok(answer)
    }
}

fn unanswered(failed: &Failed) -> Failure {
    match failed {
        Failed::Connect(failure, _) | Failed::Broken(failure, _) => Failure::Connect(*failure),
        Failed::NotHttp(_) | Failed::BadEncoding(_) | Failed::TooLong => Failure::Malformed,
    }
}

type TokenClient = Client<
    BasicErrorResponse,
    Granted,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;
