//! Placeholder: holds one token. Replaced by the token source on merge.

use http::HeaderValue;

use super::Error;

/// An access token.
#[derive(Clone)]
pub struct Authorization(HeaderValue);

impl Authorization {
    /// The value of the `authorization` header, marked sensitive.
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Keeps the service's access token fresh.
pub struct TokenSource(HeaderValue);

#[expect(clippy::unused_async, reason = "placeholder")]
impl TokenSource {
    /// The current token.
    pub async fn authorization(&self) -> Result<Authorization, Error> {
        Ok(Authorization(self.0.clone()))
    }

    /// The token to use instead of one that was refused.
    pub async fn refused(&self, refused: &Authorization) -> Result<Authorization, Error> {
        Ok(refused.clone())
    }
}
