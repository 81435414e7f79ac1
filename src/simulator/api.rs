//! The vendor's endpoints. A new one needs a route here, a [`Call`] with its right answer in
//! world.rs, a body in body.rs, and a name for rules in rule.rs.

use std::{collections::HashMap, future::pending, time::Duration};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Uri, Version, header, request::Parts};
use tokio::time::sleep;

use super::{
    answer::Answer,
    control::Control,
    control_api,
    play::Outcome,
    wire::{self, Wire},
    world::{Call, Plan, Request},
};
use crate::config::simulate::ErrorBody;

/// The path of the REST calls, as with the vendor.
pub const BASE_PATH: &str = "/G2A/rest/v1";
/// The path of the token endpoint, as with the vendor.
pub const TOKEN_PATH: &str = "/oauth/token";
/// The path of the page where a person signs in, as with the vendor.
pub const AUTHORIZE_PATH: &str = "/oauth/authorize";

/// The whole simulator as a router, for tests without a socket. A fault that needs a socket is
/// played as a body that breaks off.
pub fn router(control: &Control) -> Router {
    let path = |path: &str| format!("{BASE_PATH}{path}");
    Router::new()
        .route(&path("/sessions"), get(session_list).fallback(wrong_method))
        .route(&path("/sessions/{id}"), get(session).fallback(wrong_method))
        .route(&path("/systemLinks"), get(system_links).fallback(wrong_method))
        .route(TOKEN_PATH, post(token).fallback(wrong_token_method))
        .route(AUTHORIZE_PATH, get(authorize).post(decide))
        .nest("/control", control_api::routes())
        .fallback(no_such_route)
        .with_state(control.clone())
}

async fn session(
    control: State<Control>,
    id: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Response {
    // The vendor has no route for an id that is not UTF-8.
    answer(&control, id.map_or(Call::NoSuchRoute, |Path(id)| Call::Session(id)), parts).await
}

async fn session_list(control: State<Control>, parts: Parts) -> Response {
    let query = query(&parts.uri);
    answer(&control, Call::SessionList(query), parts).await
}

async fn system_links(control: State<Control>, parts: Parts) -> Response {
    let domain = query(&parts.uri).remove("systemDomain");
    answer(&control, Call::SystemLinks(domain), parts).await
}

async fn wrong_method(control: State<Control>, parts: Parts) -> Response {
    answer(&control, Call::WrongMethod, parts).await
}

async fn no_such_route(control: State<Control>, parts: Parts) -> Response {
    answer(&control, Call::NoSuchRoute, parts).await
}

async fn token(
    control: State<Control>,
    version: Version,
    wire: Option<Extension<Wire>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
    let plan = control.world().plan_token(&form, basic(&headers));
    send(plan, version, wire.map(|Extension(wire)| wire)).await
}

async fn authorize(control: State<Control>, uri: Uri) -> Response {
    control.world().sign_in(&query(&uri), None).into_response()
}

async fn decide(control: State<Control>, uri: Uri, body: Bytes) -> Response {
    let form: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
    let decision = form.get("decision").map_or("deny", String::as_str);
    control.world().sign_in(&query(&uri), Some(decision)).into_response()
}

async fn wrong_token_method() -> Response {
    let message = "The method is not allowed";
    let answer = Answer::error(405, ErrorBody::Oauth, "invalid_request", message);
    answer.header("allow", "POST").into_response()
}

/// Answers a REST request, and counts it.
async fn answer(control: &Control, call: Call, parts: Parts) -> Response {
    // This is a separate statement, so that the lock is released before the next await.
    let plan = control.world().plan(request(call, &parts));
    let in_flight = control.in_flight();
    let response = send(plan, parts.version, parts.extensions.get().cloned()).await;
    in_flight.answered();
    response
}

async fn send(plan: Plan, version: Version, wire: Option<Wire>) -> Response {
    if plan.delay > 0.0 {
        sleep(Duration::try_from_secs_f64(plan.delay).unwrap_or(Duration::MAX)).await;
    }
    match plan.outcome {
        Outcome::Answer(answer) => answer.into_response(),
        Outcome::Hang => pending().await,
        Outcome::Socket { steps, instead } => {
            // HTTP/2 has no bare socket: requests share it, and it carries no bytes of HTTP/1.
            let wire = wire.filter(|_| version < Version::HTTP_2);
            let Some(stream) = wire.and_then(|wire| wire.take()) else { return instead };
            // An error means that the client has left, as a client may after such a fault.
            let _ = wire::perform(steps, stream).await;
            Answer::empty(200).into_response()
        }
    }
}

fn request(call: Call, parts: &Parts) -> Request {
    let mut query = query(&parts.uri);
    let path_and_query = parts.uri.path_and_query().map_or("/", |both| both.as_str());
    let has_token = query.contains_key("oauth_token");
    let target = if has_token { parts.uri.path() } else { path_and_query };
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().filter(|(name, _)| *name != header::AUTHORIZATION);
    Request {
        call,
        token: bearer(&parts.headers).or_else(|| query.remove("oauth_token")),
        accepts_gzip: parts
            .headers
            .get(header::ACCEPT_ENCODING)
            .is_some_and(|value| text(value).contains("gzip")),
        method: parts.method.to_string(),
        target: target.into(),
        headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
    }
}

fn query(uri: &Uri) -> HashMap<String, String> {
    let query = uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The token in either of the vendor's header forms.
fn bearer(headers: &HeaderMap) -> Option<String> {
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
