//! The page where a person signs in, and the authorization codes that it gives (RFC 6749 §4.1, with
//! PKCE, RFC 7636).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;
use url::Url;

use super::{answer::Answer, credentials::BAD_CLIENT};
use crate::config::simulate::{Settings, SignIn};

/// The codes that were given and not exchanged yet.
#[derive(Debug, Default)]
pub(super) struct Codes {
    given: HashMap<String, Code>,
    spent: HashSet<String>,
}

#[derive(Debug)]
struct Code {
    client: String,
    redirect_url: String,
    challenge: Option<String>,
    /// `None` if the clock cannot represent the time.
    expires_at: Option<Instant>,
}

/// The buttons send the answer to this page's own address, with its query.
const PAGE: &str = "<!DOCTYPE html><html lang=\"en\"><title>Sign in (simulated)</title>\
    <h1>GoTo, simulated</h1><p>A program asks for access to your account.</p>\
    <form method=\"post\"><button name=\"decision\" value=\"allow\">Allow</button> \
    <button name=\"decision\" value=\"deny\">Deny</button></form></html>\n";

impl Codes {
    /// The answer to a request for the page, or to the person's decision on it. `number` makes the
    /// code unique.
    pub(super) fn sign_in(
        &mut self,
        query: &HashMap<String, String>,
        decision: Option<&str>,
        number: u64,
        settings: &Settings,
    ) -> Answer {
        let value = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let client = value("client_id");
        let redirect = Url::parse(value("redirect_uri"));
        // Without a known client, nobody may be redirected.
        let (Ok(redirect), false) = (redirect, ["", BAD_CLIENT].contains(&client)) else {
            return Answer::page(400);
        };
        let state = value("state");
        if value("response_type") != "code" {
            return redirected(
                redirect,
                [("error", "unsupported_response_type"), ("state", state)],
            );
        }
        let (is_allowed, state) = match (settings.sign_in, decision) {
            (SignIn::Ask, None) => return Answer::new(200, "text/html;charset=UTF-8", PAGE),
            (SignIn::Ask, Some(decision)) => (decision == "allow", state),
            (SignIn::Allow, _) => (true, state),
            (SignIn::Deny, _) => (false, state),
            (SignIn::WrongState, _) => (true, "another-state"),
        };
        if !is_allowed {
            return redirected(redirect, [("error", "access_denied"), ("state", state)]);
        }
        let code = format!("code-{number}");
        let lifetime = Duration::try_from_secs_f64(settings.code_lifetime).unwrap_or_default();
        let given = Code {
            client: client.into(),
            redirect_url: value("redirect_uri").into(),
            challenge: query.get("code_challenge").cloned(),
            expires_at: Instant::now().checked_add(lifetime),
        };
        self.given.insert(code.clone(), given);
        redirected(redirect, [("code", code.as_str()), ("state", state)])
    }

    /// Uses up a code. Returns whether it may be exchanged by this client with this form. A code that
    /// the page has not given is always good.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        client: &str,
        form: &HashMap<String, String>,
    ) -> bool {
        let Some(given) = self.given.remove(code) else { return !self.spent.contains(code) };
        self.spent.insert(code.into());
        let value = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let answer = || URL_SAFE_NO_PAD.encode(digest(&SHA256, value("code_verifier").as_bytes()));
        given.expires_at.is_none_or(|at| Instant::now() < at)
            && given.client == client
            && given.redirect_url == value("redirect_uri")
            && given.challenge.is_none_or(|challenge| challenge == answer())
    }
}

fn redirected<'a>(
    mut url: Url,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Answer {
    url.query_pairs_mut().extend_pairs(parameters);
    Answer::empty(302).header("location", url).header("cache-control", "no-store")
}
