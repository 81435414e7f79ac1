//! The login of a person: the authorization-code grant (RFC 6749 §4.1) with PKCE (RFC 7636). It gives
//! the refresh token with which the service keeps its own access token fresh.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    error::Unspecified,
    rand::{SecureRandom as _, SystemRandom},
};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use url::{Url, form_urlencoded};

use super::token::{Cause, Exchange};
use crate::wire::HttpClient;

/// The error codes of a refused login (RFC 6749 §4.1.2.1).
const REFUSALS: [&str; 7] = [
    "access_denied",
    "invalid_request",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_response_type",
];

/// One login, from the page where the person signs in to the refresh token.
#[derive(Debug)]
pub struct Login {
    exchange: Exchange,
    client_secret: SecretString,
    authorize_url: Url,
    redirect_url: Url,
    /// Proves that a redirect belongs to this login.
    state: SecretString,
    /// Proves that whoever exchanges the code has begun this login.
    verifier: SecretString,
}

/// The addresses of a login.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The page where the person signs in.
    pub authorize_url: Url,
    /// The token endpoint.
    pub token_url: Url,
    /// Where the page sends the browser in the end.
    pub redirect_url: Url,
}

/// What a redirect brings. `Debug` prints nothing of the code.
#[derive(Debug)]
pub enum Redirect {
    /// The redirect belongs to another login, or to none.
    Foreign,
    /// The person or GoToAssist has refused, for this reason.
    Refused(&'static str),
    /// The authorization code, which is exchanged for the refresh token.
    Code(SecretString),
}

/// Why a login cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The URL of the token endpoint cannot be used.
    #[error("the URL of the token endpoint cannot be used")]
    TokenUrl,
}

/// Why the code gave no refresh token.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The token endpoint did not exchange the code.
    #[error("{0}")]
    Token(Cause),
    /// The token endpoint sent an access token only.
    #[error("GoToAssist sent no refresh token, only an access token")]
    NoRefreshToken,
}

impl Login {
    /// Begins a login of this client.
    pub fn new(
        client_id: String,
        client_secret: SecretString,
        addresses: Addresses,
        http: HttpClient,
    ) -> Result<Self, SetUpError> {
        let Addresses { authorize_url, token_url, redirect_url } = addresses;
        let exchange = Exchange::new(http, &token_url, client_id).ok_or(SetUpError::TokenUrl)?;
        let secret = || random_text().map_err(|Unspecified| SetUpError::Random);
        let (state, verifier) = (secret()?, secret()?);
        Ok(Self { exchange, client_secret, authorize_url, redirect_url, state, verifier })
    }

    /// The page where the person signs in.
    pub fn url(&self) -> Url {
        let challenge = digest(&SHA256, self.verifier.expose_secret().as_bytes());
        let mut url = self.authorize_url.clone();
        url.query_pairs_mut()
            .append_pair("client_id", self.exchange.client_id())
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", self.redirect_url.as_str())
            .append_pair("state", self.state.expose_secret())
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        url
    }

    /// Reads the query of a redirect.
    pub fn redirect(&self, query: &str) -> Redirect {
        let value = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find_map(|(key, value)| (key == name).then_some(value))
        };
        let expected = self.state.expose_secret().as_bytes();
        let is_ours = value("state").is_some_and(|state| state.as_bytes().ct_eq(expected).into());
        if !is_ours {
            return Redirect::Foreign;
        }
        if let Some(error) = value("error") {
            let known = REFUSALS.into_iter().find(|known| *known == error);
            return Redirect::Refused(known.unwrap_or("another reason"));
        }
        match value("code").filter(|code| !code.is_empty()) {
            Some(code) => Redirect::Code(SecretString::from(code.into_owned())),
            None => Redirect::Refused("no code"),
        }
    }

    /// Exchanges the code for the refresh token.
    pub async fn refresh_token(&self, code: &SecretString) -> Result<SecretString, ExchangeError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", self.redirect_url.as_str()),
            ("code_verifier", self.verifier.expose_secret()),
        ];
        let tokens = self.exchange.send(&self.client_secret, &form).await;
        let (_, refresh_token) = tokens.map_err(|error| ExchangeError::Token(error.cause))?;
        refresh_token.ok_or(ExchangeError::NoRefreshToken)
    }
}

/// 256 random bits, as 43 characters that need no encoding in a URL.
fn random_text() -> Result<SecretString, Unspecified> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}
