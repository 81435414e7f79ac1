//! The control API: [`Control`] over HTTP, as docs/simulator.md describes it.

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    response::Response,
    routing::{get, post, put},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::Control;
use crate::simulator::{
    answer::Answer, credentials::Standing, life::SessionScript, rule::Rule, settings::Settings,
    world::LinksScript,
};

/// The routes under `/control`.
pub(in crate::simulator) fn routes() -> Router<Control> {
    Router::new()
        .route("/sessions", get(list_sessions))
        .route("/sessions/{id}", put(put_session).get(get_session).delete(delete_session))
        .route("/links/{domain}", put(put_links).delete(delete_links))
        .route("/faults", post(add_fault).get(list_faults).delete(clear_faults))
        .route("/faults/{number}", axum::routing::delete(delete_fault))
        .route("/settings", get(get_settings).patch(patch_settings))
        .route("/credentials/{token}", put(put_credential).delete(delete_credential))
        .route("/expire-issued-tokens", post(expire_issued_tokens))
        .route("/counters", get(get_counters).delete(reset_counters))
        .route("/reset", post(reset))
}

async fn list_sessions(State(control): State<Control>) -> Response {
    let sessions: Vec<Value> = control
        .statuses()
        .into_iter()
        .map(|(id, status)| json!({ "id": id, "status": status }))
        .collect();
    shown(&sessions)
}

async fn put_session(
    State(control): State<Control>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let script = match read::<SessionScript>(&body) {
        Ok(script) => SessionScript { id, ..script },
        Err(refusal) => return refusal,
    };
    control.put_session(script).map_or_else(|invalid| refused(&invalid.to_string()), |()| done())
}

async fn get_session(State(control): State<Control>, Path(id): Path<String>) -> Response {
    control.session(&id).map_or_else(missing, |script| shown(&script))
}

async fn delete_session(State(control): State<Control>, Path(id): Path<String>) -> Response {
    if control.delete_session(&id) { done() } else { missing() }
}

async fn put_links(
    State(control): State<Control>,
    Path(domain): Path<String>,
    body: Bytes,
) -> Response {
    read::<LinksScript>(&body).map_or_else(
        |refusal| refusal,
        |links| {
            control.put_links(&domain, links);
            done()
        },
    )
}

async fn delete_links(State(control): State<Control>, Path(domain): Path<String>) -> Response {
    if control.delete_links(&domain) { done() } else { missing() }
}

async fn add_fault(State(control): State<Control>, body: Bytes) -> Response {
    let text = String::from_utf8_lossy(&body);
    match text.parse::<Rule>() {
        Ok(rule) => shown(&json!({ "number": control.add_fault(rule) })),
        Err(invalid) => refused(&invalid.to_string()),
    }
}

async fn list_faults(State(control): State<Control>) -> Response {
    let rules: Vec<Value> = control
        .faults()
        .into_iter()
        .map(|(number, rule, struck)| json!({ "number": number, "rule": rule, "struck": struck }))
        .collect();
    shown(&rules)
}

async fn clear_faults(State(control): State<Control>) -> Response {
    control.clear_faults();
    done()
}

async fn delete_fault(State(control): State<Control>, Path(number): Path<String>) -> Response {
    match number.parse() {
        Ok(number) if control.delete_fault(number) => done(),
        _ => missing(),
    }
}

async fn get_settings(State(control): State<Control>) -> Response {
    shown(&control.settings())
}

async fn patch_settings(State(control): State<Control>, body: Bytes) -> Response {
    let patch = match read::<Value>(&body) {
        Ok(patch) => patch,
        Err(refusal) => return refusal,
    };
    let patched = serde_json::to_value(control.settings()).and_then(|mut settings| {
        merge(&mut settings, patch);
        serde_json::from_value::<Settings>(settings)
    });
    match patched {
        Ok(patched) => {
            control.change_settings(|settings| *settings = patched);
            shown(&control.settings())
        }
        Err(invalid) => refused(&invalid.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    standing: Standing,
}

async fn put_credential(
    State(control): State<Control>,
    Path(token): Path<String>,
    body: Bytes,
) -> Response {
    read::<Credential>(&body).map_or_else(
        |refusal| refusal,
        |credential| {
            control.set_credential(&token, credential.standing);
            done()
        },
    )
}

async fn delete_credential(State(control): State<Control>, Path(token): Path<String>) -> Response {
    control.forget_credential(&token);
    done()
}

async fn expire_issued_tokens(State(control): State<Control>) -> Response {
    control.expire_issued_tokens();
    done()
}

async fn get_counters(State(control): State<Control>) -> Response {
    shown(&control.counters())
}

async fn reset_counters(State(control): State<Control>) -> Response {
    control.reset_counters();
    done()
}

async fn reset(State(control): State<Control>) -> Response {
    control.reset();
    done()
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|invalid| refused(&invalid.to_string()))
}

/// JSON Merge Patch (RFC 7396); null takes a value back to its default.
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

fn shown(content: &impl Serialize) -> Response {
    match serde_json::to_vec(content) {
        Ok(text) => Answer::json(text).into_response(),
        Err(failure) => refused(&failure.to_string()),
    }
}

fn done() -> Response {
    Answer::empty(204).into_response()
}

fn missing() -> Response {
    answer(404, "there is nothing of this name")
}

fn refused(why: &str) -> Response {
    answer(400, why)
}

fn answer(status: u16, why: &str) -> Response {
    Answer { status, ..Answer::json(json!({ "error": why }).to_string()) }.into_response()
}
