//! The vendor's two REST calls and its token endpoint, as HTTP.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use axum::{Extension, Router, body::Bytes, extract::State, response::Response, routing::any};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, Uri, Version, header};
use tokio::time::sleep;

use super::{
    answer::Answer,
    control::{self, Control},
    play::play,
    wire::Takeover,
    world::{Call, Plan, Request},
};
use crate::config::simulate::ErrorBody;

/// Where the two REST calls are, as with the vendor.
pub const BASE_PATH: &str = "/G2A/rest/v1";
/// Where the token endpoint is, as with the vendor.
pub const TOKEN_PATH: &str = "/oauth/token";

/// The whole simulator as a router, for tests that want no socket. There a fault that only a
/// socket can show is a body that breaks off.
pub fn router(control: &Control) -> Router {
    Router::new()
        .route(TOKEN_PATH, any(token))
        .nest("/control", control::http::routes())
        .fallback(rest)
        .with_state(control.clone())
}

async fn rest(
    State(control): State<Control>,
    takeover: Option<Extension<Takeover>>,
    uri: Uri,
    version: Version,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let request = read(&method, &uri, &headers);
    // Not in a `match`: the lock must be free again before anything is awaited.
    let plan = control.world().plan(request);
    let in_flight = control.in_flight();
    let response = carry_out(&control, plan, takeover, version).await;
    in_flight.answered();
    response
}

async fn token(
    State(control): State<Control>,
    takeover: Option<Extension<Takeover>>,
    version: Version,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method != Method::POST {
        let message = "The method is not allowed";
        let answer = Answer::error(405, ErrorBody::Oauth, "invalid_request", message);
        return answer.header("allow", "POST").into_response();
    }
    let form: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
    let plan = control.world().plan_token(&form, basic(&headers));
    carry_out(&control, plan, takeover, version).await
}

async fn carry_out(
    control: &Control,
    plan: Plan,
    takeover: Option<Extension<Takeover>>,
    version: Version,
) -> Response {
    if plan.delay > 0.0 {
        sleep(Duration::try_from_secs_f64(plan.delay).unwrap_or(Duration::MAX)).await;
    }
    // In HTTP/2 other requests share the socket, and bytes of HTTP/1 mean nothing.
    let takeover = takeover.filter(|_| version < Version::HTTP_2);
    let clock = control.world().clock;
    play(plan.fault, plan.right, takeover.map(|Extension(takeover)| takeover), clock).await
}

fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Request {
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let token = token_of(headers).or_else(|| query.get("oauth_token").cloned());
    let call = call(method, uri.path(), query.get("systemDomain"));
    let has_token_in_query = query.contains_key("oauth_token");
    let target = if has_token_in_query { uri.path() } else { path_and_query(uri) };
    let text = |name: header::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    Request {
        call,
        token,
        accepts_gzip: text(header::ACCEPT_ENCODING).contains("gzip"),
        method: method.to_string(),
        target: target.into(),
        headers: shown(headers),
    }
}

fn call(method: &Method, path: &str, system_domain: Option<&String>) -> Call {
    let Some(rest) = path.strip_prefix(BASE_PATH) else { return Call::NoSuchRoute };
    let call = match rest.strip_prefix("/sessions/") {
        Some(id) if !id.is_empty() && !id.contains('/') => match percent_decoded(id) {
            Some(id) => Call::Session(id),
            None => return Call::NoSuchRoute,
        },
        None if rest == "/systemLinks" => Call::SystemLinks(system_domain.cloned()),
        Some(_) | None => return Call::NoSuchRoute,
    };
    if matches!(*method, Method::GET | Method::HEAD) { call } else { Call::WrongMethod }
}

/// The token in any of the vendor's header forms.
fn token_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Some(rest.trim().into())
    } else if scheme.eq_ignore_ascii_case("oauth") {
        Some(rest.trim().strip_prefix("oauth_token=")?.trim_matches('"').into())
    } else {
        None
    }
}

/// The client's id and secret (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    let decoded = STANDARD.decode(rest.trim()).ok()?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| (id.into(), secret.into()))
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or(uri.path(), |both| both.as_str())
}

fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .filter(|(name, _)| *name != header::AUTHORIZATION)
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

/// `text` with its `%XX` replaced; `None` if that is no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%')
            .then(|| std::str::from_utf8(tail.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}
