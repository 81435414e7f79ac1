//! Tokens: which ones the REST calls accept, and how the token endpoint issues them.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{answer::Answer, sign_in::Codes};
use crate::config::simulate::{ErrorBody, KeyForm, RefreshTokens, Settings};

/// A token that is always refused.
pub const BAD_TOKEN: &str = "bad-token";
/// A token of a technician without a Remote Support seat.
pub const NO_SEAT_TOKEN: &str = "no-seat-token";
/// A refresh token, personal access token or authorization code that is always refused.
pub const BAD_GRANT: &str = "bad-grant";
/// A refresh token, personal access token or authorization code of a technician without a seat.
pub const NO_SEAT_GRANT: &str = "no-seat-grant";
/// A client id that is always refused.
pub const BAD_CLIENT: &str = "bad-client";

/// Whether the REST calls accept a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is valid.
    Accepted,
    /// It is not valid.
    Refused,
    /// It is valid, but its technician has no Remote Support seat.
    NoSeat,
}

#[derive(Debug, Default)]
pub(super) struct Credentials {
    standings: HashMap<String, Standing>,
    issued: HashMap<String, Issued>,
    spent: HashSet<String>,
    codes: Codes,
    count: u64,
}

#[derive(Debug)]
struct Issued {
    principal: String,
    /// `None` if the clock cannot represent the time.
    expires_at: Option<Instant>,
    has_seat: bool,
}

impl Credentials {
    /// Sets the standing of a token, or of all tokens of a principal; `None` removes it.
    pub(super) fn set(&mut self, name: &str, standing: Option<Standing>) {
        match standing {
            Some(standing) => self.standings.insert(name.into(), standing),
            None => self.standings.remove(name),
        };
    }

    /// Makes all issued access tokens expire now.
    pub(super) fn expire(&mut self) {
        self.issued.values_mut().for_each(|issued| issued.expires_at = Some(Instant::now()));
    }

    /// The principal of an issued token, otherwise the token itself.
    pub(super) fn name(&self, token: &str) -> String {
        self.issued.get(token).map_or(token, |issued| &issued.principal).into()
    }

    /// Whether the REST calls accept `token`.
    pub(super) fn standing(&self, token: &str, only_issued: bool) -> Standing {
        if let Some(standing) = self.standings.get(token) {
            return *standing;
        }
        match self.issued.get(token) {
            Some(issued) if issued.is_expired() => Standing::Refused,
            Some(issued) => match self.standings.get(&issued.principal) {
                Some(standing) => *standing,
                None if issued.has_seat => Standing::Accepted,
                None => Standing::NoSeat,
            },
            None if token == NO_SEAT_TOKEN => Standing::NoSeat,
            None if only_issued || token.is_empty() || token == BAD_TOKEN => Standing::Refused,
            None => Standing::Accepted,
        }
    }

    /// The token endpoint's answer to a form; `client` is the id and secret of its Basic auth.
    pub(super) fn issue(
        &mut self,
        form: &HashMap<String, String>,
        client: Option<(String, String)>,
        settings: &Settings,
    ) -> Answer {
        let is_valid =
            |id: &str, secret: &str| !secret.is_empty() && !["", BAD_CLIENT].contains(&id);
        let Some((client, _)) = client.filter(|(id, secret)| is_valid(id, secret)) else {
            return refused(401, "invalid_client", "Client authentication failed")
                .header("www-authenticate", "Basic realm=\"oauth\"");
        };
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let (grant, is_refresh) = match field("grant_type") {
            "refresh_token" => (field("refresh_token"), true),
            "personal_access_token" => (field("pat"), false),
            "authorization_code" => (field("code"), false),
            _ => return refused(400, "unsupported_grant_type", "The grant type is not supported"),
        };
        if grant.is_empty() {
            return refused(400, "invalid_request", "A parameter is missing");
        }
        let is_code = field("grant_type") == "authorization_code";
        let is_good = !is_code || self.codes.redeem(grant, &client, form);
        if !is_good || grant == BAD_GRANT || self.spent.contains(grant) {
            return refused(400, "invalid_grant", "The grant is invalid, expired or revoked");
        }
        let has_seat = !grant.starts_with(NO_SEAT_GRANT);
        let principal =
            if has_seat { format!("{client}@example.com") } else { "no-seat@example.com".into() };
        let refresh_token = if is_code {
            Some(self.next_grant(grant))
        } else if is_refresh {
            self.rotated(grant, settings.refresh_tokens)
        } else {
            None
        };
        self.access_token(principal, has_seat, refresh_token, settings)
    }

    /// The answer of the page where a person signs in, to a request for it or to a decision on it.
    pub(super) fn sign_in(
        &mut self,
        query: &HashMap<String, String>,
        decision: Option<&str>,
        settings: &Settings,
    ) -> Answer {
        self.count += 1;
        self.codes.sign_in(query, decision, self.count, settings)
    }

    fn access_token(
        &mut self,
        principal: String,
        has_seat: bool,
        refresh_token: Option<String>,
        settings: &Settings,
    ) -> Answer {
        let token = self.next_token(&principal);
        let lifetime = Duration::try_from_secs_f64(settings.token_lifetime).unwrap_or_default();
        let seconds = lifetime.as_secs();
        let mut granted = json!({
            "access_token": token,
            "expires_in": match settings.expires_in {
                KeyForm::Number => Value::from(seconds),
                KeyForm::String => seconds.to_string().into(),
            },
            "scope": "support:",
            "principal": principal,
        });
        if let Some(refresh_token) = refresh_token {
            granted["refresh_token"] = refresh_token.into();
        }
        if settings.token_type {
            granted["token_type"] = "Bearer".into();
        }
        let expires_at = Instant::now().checked_add(lifetime);
        self.issued.insert(token, Issued { principal, expires_at, has_seat });
        Answer::json(granted.to_string()).header("cache-control", "no-store")
    }

    /// The refresh token that replaces `old`, if one does.
    fn rotated(&mut self, old: &str, rule: RefreshTokens) -> Option<String> {
        match rule {
            RefreshTokens::Keep => return None,
            RefreshTokens::Rotate => {}
            RefreshTokens::SingleUse => drop(self.spent.insert(old.into())),
        }
        Some(self.next_grant(old))
    }

    fn next_grant(&mut self, old: &str) -> String {
        self.count += 1;
        let stem = old.split('.').next().unwrap_or_default();
        format!("{stem}.{}", self.count)
    }

    /// A token that looks like the vendor's: a JWT of some 700 characters.
    fn next_token(&mut self, principal: &str) -> String {
        self.count += 1;
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let claims = format!(r#"{{"sub":{},"jti":"{}"}}"#, Value::from(principal), self.count);
        let signature = [self.count.to_le_bytes(); 56].concat();
        format!("{}.{}.{}", part(br#"{"alg":"none"}"#), part(claims.as_bytes()), part(&signature))
    }
}

impl Issued {
    fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= Instant::now())
    }
}

fn refused(status: u16, code: &str, description: &str) -> Answer {
    Answer::error(status, ErrorBody::Oauth, code, description)
}
