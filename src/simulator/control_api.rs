//! The control API: [`Control`] over HTTP, as docs/simulator.md describes it.

use std::{
    fmt::Display,
    future::{Ready, ready},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    routing::{delete, get, post, put},
};
use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    control::Control, credentials::Standing, life::SessionScript, rule::Rule, world::LinksScript,
};
use crate::config::simulate::Settings;

/// An error with its reason as JSON.
type Refusal = (StatusCode, Json<Value>);

/// 204, or an error.
type Done = Result<StatusCode, Refusal>;

pub(super) fn routes() -> Router<Control> {
    let session = get(get_session).put(put_session).delete(remove(Control::delete_session));
    let faults = post(add_fault).get(list_faults).delete(change(Control::clear_faults));
    Router::new()
        .route("/sessions", get(list_sessions))
        .route("/sessions/{id}", session)
        .route("/links/{domain}", put(put_links).delete(remove(Control::delete_links)))
        .route("/faults", faults)
        .route("/faults/{number}", delete(delete_fault))
        .route("/settings", get(show(Control::settings)).patch(patch_settings))
        .route("/credentials/{token}", put(put_credential).delete(delete_credential))
        .route("/expire-issued-tokens", post(change(Control::expire_issued_tokens)))
        .route("/counters", get(show(Control::counters)).delete(change(Control::reset_counters)))
        .route("/reset", post(change(Control::reset)))
}

/// A handler that answers with the result of `look`.
fn show<T: Serialize>(
    look: fn(&Control) -> T,
) -> impl Fn(State<Control>) -> Ready<Json<T>> + Clone {
    move |control| ready(Json(look(&control)))
}

/// A handler that changes something.
fn change(act: fn(&Control)) -> impl Fn(State<Control>) -> Ready<StatusCode> + Clone {
    move |control| {
        act(&control);
        ready(StatusCode::NO_CONTENT)
    }
}

/// A handler that removes the entry that the path names.
fn remove(
    act: fn(&Control, &str) -> bool,
) -> impl Fn(State<Control>, Path<String>) -> Ready<Done> + Clone {
    move |control, name| ready(found(act(&control, &name)))
}

async fn list_sessions(control: State<Control>) -> Json<Vec<Value>> {
    let sessions = control.statuses().into_iter();
    Json(sessions.map(|(id, status)| json!({ "id": id, "status": status })).collect())
}

async fn put_session(control: State<Control>, Path(id): Path<String>, body: Bytes) -> Done {
    let script = SessionScript { id, ..read(&body)? };
    control.put_session(script).map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn get_session(
    control: State<Control>,
    id: Path<String>,
) -> Result<Json<SessionScript>, Refusal> {
    control.session(&id).map(Json).ok_or_else(missing)
}

async fn put_links(control: State<Control>, domain: Path<String>, body: Bytes) -> Done {
    control.put_links(&domain, read::<LinksScript>(&body)?);
    Ok(StatusCode::NO_CONTENT)
}

async fn add_fault(control: State<Control>, body: Bytes) -> Result<Json<Value>, Refusal> {
    let rule: Rule = String::from_utf8_lossy(&body).parse().map_err(refused)?;
    Ok(Json(json!({ "number": control.add_fault(rule) })))
}

async fn list_faults(control: State<Control>) -> Json<Vec<Value>> {
    let shown =
        |(number, rule, played)| json!({ "number": number, "rule": rule, "struck": played });
    let rules = control.faults().into_iter();
    Json(rules.map(shown).collect())
}

async fn delete_fault(control: State<Control>, number: Path<String>) -> Done {
    found(number.parse().is_ok_and(|number| control.delete_fault(number)))
}

async fn patch_settings(control: State<Control>, body: Bytes) -> Result<Json<Settings>, Refusal> {
    let mut settings = serde_json::to_value(control.settings()).map_err(refused)?;
    merge(&mut settings, read(&body)?);
    let settings: Settings = serde_json::from_value(settings).map_err(refused)?;
    control.change_settings(|known| known.clone_from(&settings));
    Ok(Json(settings))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    standing: Standing,
}

async fn put_credential(control: State<Control>, token: Path<String>, body: Bytes) -> Done {
    control.set_credential(&token, read::<Credential>(&body)?.standing);
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_credential(control: State<Control>, token: Path<String>) -> StatusCode {
    control.forget_credential(&token);
    StatusCode::NO_CONTENT
}

/// Reads JSON. The content type does not matter, because curl sends the content type of a form.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(refused)
}

/// JSON Merge Patch (RFC 7396).
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(fields), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    fields.remove(&name);
                } else {
                    merge(fields.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch,
    }
}

fn found(is_found: bool) -> Done {
    if is_found { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}

fn missing() -> Refusal {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "there is nothing with this name" })))
}

fn refused(why: impl Display) -> Refusal {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": why.to_string() })))
}
