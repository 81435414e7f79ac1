//! Plays a fault: decides what the simulator sends instead of the right answer. No other file
//! handles every fault.

use std::{io, time::Duration};

use axum::{body::Body, response::Response};
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::to_raw_value;
use tokio::time::sleep;

use super::{
    answer::{Answer, http_date, quoted},
    fault::{Fault, RetryAfter},
    life::Fields,
    wire::Step,
};
use crate::config::simulate::EncodingForm;

/// The message in the bodies of played errors.
const MESSAGE: &str = "Simulated fault";

/// The length of each field of [`Fault::ManyUnknownFields`], in bytes.
const UNKNOWN_FIELD: usize = 10_000;

/// What the simulator sends.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An answer that HTTP can express.
    Answer(Answer),
    /// Nothing, while the connection stays open.
    Hang,
    /// The steps on the bare socket. If there is no bare socket, the simulator sends `instead`.
    Socket { steps: Vec<Step>, instead: Response },
}

/// Plays a fault for a request. `right` is the right answer.
pub(super) fn play(fault: Fault, right: Answer, now: Timestamp) -> Outcome {
    let length = right.body.len();
    Outcome::Answer(match fault {
        // The right answer already has the time, shape or session that the fault asks for.
        Fault::Right | Fault::Stale { .. } | Fault::Shape(_) | Fault::ForeignSession { .. } => {
            right.encoded()
        }
        Fault::Status { status, body, code, reason, retry_after, retry_after_date } => {
            let code = code.as_deref().unwrap_or(default_code(status));
            let answer = Answer { reason, ..Answer::error(status, body, code, MESSAGE) };
            let at = retry_after_date.map(|seconds| http_date(later(now, seconds)));
            let value = retry_after.map(|value| match value {
                RetryAfter::Seconds(seconds) => seconds.to_string(),
                RetryAfter::Text(text) => text,
            });
            match value.or(at) {
                Some(value) => answer.header("retry-after", value),
                None => answer,
            }
        }
        Fault::Redirect { status, location } => Answer::empty(status).header("location", location),
        Fault::NoContent => Answer::empty(204),
        Fault::EmptyBody => Answer { body: Vec::new(), ..right },
        Fault::Html => Answer::page(200),
        Fault::Body { text, content_type } => Answer::new(200, &content_type, text),
        Fault::EmptyObject => Answer::json("{}"),
        Fault::Null => Answer::json("null"),
        Fault::Maintenance { message } => {
            Answer::json(format!(r#"{{"message":{}}}"#, quoted(&message)))
        }
        Fault::ErrorObject { body, code } => {
            let message = if code == "InvalidToken" { "Invalid token passed" } else { MESSAGE };
            Answer::error(200, body, &code, message)
        }
        Fault::HalfSession => only(right, &["sessionId", "status"]),
        Fault::HollowSession => only(right, &["sessionId"]),
        Fault::Fields { fields } => edited(right, |object| {
            for (name, value) in &fields {
                object.extend(to_raw_value(value).ok().map(|value| (name.clone(), value)));
            }
        }),
        Fault::BadJson => changed(right, |body| body.truncate(length / 2)),
        Fault::DuplicateKeys => added(right, br#""status":"abandoned","accountKey":-1"#),
        Fault::DeepNesting { depth } => {
            let field = format!(r#""nested":{}{}"#, "[".repeat(depth), "]".repeat(depth));
            added(right, field.as_bytes())
        }
        Fault::ManyUnknownFields { bytes } => added(right, unknown_fields(bytes).as_bytes()),
        Fault::InvalidUtf8 => added(right, b"\"expertName\":\"\xff\xfe\xc3\x28\""),
        Fault::ByteOrderMark => changed(right, |body| drop(body.splice(..0, *b"\xef\xbb\xbf"))),
        Fault::Oversized { bytes } => padded(right, bytes),
        Fault::GzipBomb { bytes } => {
            let encoding = Some(EncodingForm::Gzip);
            Answer { encoding, ..padded(right, bytes) }.encoded()
        }
        Fault::Hang => return Outcome::Hang,
        Fault::HalfBody => return cut(vec![Step::Send(sized(&right, length / 2))], right, true),
        Fault::HalfChunk => {
            let chunk = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", length / 2);
            let head = [right.head("HTTP/1.1"), chunk.into()].concat();
            let bytes = [&head, half(&right), b"\r\n"].concat();
            return cut(vec![Step::Send(bytes)], right, true);
        }
        Fault::Reset => return cut(vec![Step::Reset], right, false),
        Fault::ResetHalfway => {
            // A reset discards bytes that the peer has not read yet.
            let wait = Step::Wait(Duration::from_millis(100));
            let steps = vec![Step::Send(sized(&right, length / 2)), wait, Step::Reset];
            return cut(steps, right, true);
        }
        Fault::Close => return cut(Vec::new(), right, false),
        Fault::EndlessHeaders => {
            let line = format!("x-endless: {}\r\n", "a".repeat(1000));
            let steps = vec![Step::Send(right.head("HTTP/1.1")), Step::Repeat(line.into())];
            return cut(steps, right, false);
        }
        Fault::Garbage => {
            let bytes = b"\x00\x01not HTTP at all\xff\r\n\r\n".to_vec();
            return cut(vec![Step::Send(bytes)], right, false);
        }
        Fault::Trickle { seconds } => {
            let pause = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            let steps = vec![Step::Trickle(sized(&right, length), pause)];
            return Outcome::Socket { steps, instead: trickled(right, pause) };
        }
        Fault::Http10 => {
            let bytes = [&right.head("HTTP/1.0"), &b"\r\n"[..], &right.body].concat();
            let steps = vec![Step::Send(bytes)];
            return Outcome::Socket { steps, instead: right.into_response() };
        }
        Fault::Informational { status, times } => {
            let interim = [&Answer::empty(status).head("HTTP/1.1"), &b"\r\n"[..]].concat();
            let bytes = [interim.repeat(times), sized(&right, length)].concat();
            let steps = vec![Step::Send(bytes)];
            return Outcome::Socket { steps, instead: right.into_response() };
        }
    })
}

/// An answer that breaks off. On a bare socket it breaks off after these steps. Otherwise it breaks
/// off after half of the body if `is_halfway`, and before the body if not.
fn cut(steps: Vec<Step>, right: Answer, is_halfway: bool) -> Outcome {
    let sent = if is_halfway { half(&right).to_vec() } else { Vec::new() };
    let parts = [Ok(sent), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    Outcome::Socket { steps, instead: right.with_body(Body::from_stream(stream::iter(parts))) }
}

/// The right answer with pauses between the bytes of its body.
fn trickled(mut right: Answer, pause: Duration) -> Response {
    let body = std::mem::take(&mut right.body).into_iter();
    let bytes = stream::unfold(body, move |mut rest| async move {
        let byte = rest.next()?;
        sleep(pause).await;
        Some((io::Result::Ok(vec![byte]), rest))
    });
    right.with_body(Body::from_stream(bytes))
}

fn half(right: &Answer) -> &[u8] {
    right.body.get(..right.body.len() / 2).unwrap_or_default()
}

/// The head, which announces the whole body, and the first `count` bytes of the body.
fn sized(right: &Answer, count: usize) -> Vec<u8> {
    let end = format!("content-length: {}\r\nconnection: close\r\n\r\n", right.body.len());
    let body = right.body.iter().copied().take(count).collect();
    [right.head("HTTP/1.1"), end.into(), body].concat()
}

fn changed(mut right: Answer, change: impl FnOnce(&mut Vec<u8>)) -> Answer {
    change(&mut right.body);
    right
}

/// The right answer with a changed object. An answer that is not an object stays as it is.
fn edited(right: Answer, edit: impl FnOnce(&mut Fields)) -> Answer {
    changed(right, |body| {
        if let Ok(mut object) = serde_json::from_slice::<Fields>(body) {
            edit(&mut object);
            *body = serde_json::to_vec(&object).unwrap_or_default();
        }
    })
}

/// The right answer with only these fields of its session, or of each session in its list. An error
/// stays as it is.
fn only(right: Answer, names: &[&str]) -> Answer {
    if right.status != 200 {
        return right;
    }
    let keep = |session: &mut Fields| session.retain(|name, _| names.contains(&name.as_str()));
    edited(right, |object| {
        let list = object.get("sessions");
        match list.and_then(|list| serde_json::from_str::<Vec<Fields>>(list.get()).ok()) {
            None => keep(object),
            Some(mut sessions) => {
                sessions.iter_mut().for_each(keep);
                object.extend(to_raw_value(&sessions).ok().map(|list| ("sessions".into(), list)));
            }
        }
    })
}

/// The right answer with another field at the end of its object, or of the last object in its list.
fn added(right: Answer, field: &[u8]) -> Answer {
    changed(right, |body| {
        if let Some(end) = body.iter().rposition(|byte| *byte == b'}') {
            let is_first = body[..end].ends_with(b"{");
            let comma: &[u8] = if is_first { b"" } else { b"," };
            body.splice(end..end, [comma, field].concat());
        }
    })
}

fn padded(right: Answer, bytes: usize) -> Answer {
    added(right, format!(r#""padding":"{}""#, "a".repeat(bytes)).as_bytes())
}

/// Fields with this total length, at least one. Each is an array of small numbers. Such a number
/// takes two bytes in JSON, and several times as many in most other formats.
fn unknown_fields(bytes: usize) -> String {
    let fields = (0..bytes.div_ceil(UNKNOWN_FIELD).max(1)).map(|number| {
        let length = (bytes - number * UNKNOWN_FIELD).min(UNKNOWN_FIELD);
        let numbers = length.saturating_sub(r#""unknown0000":[1],"#.len()) / 2;
        format!(r#""unknown{number:04}":[1{}]"#, ",1".repeat(numbers))
    });
    fields.collect::<Vec<_>>().join(",")
}

/// The time that is `seconds` after `now`.
pub(super) fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or_default()
}

fn default_code(status: u16) -> &'static str {
    match status {
        400 => "InvalidRequest",
        401 => "InvalidToken",
        403 => "AccessDenied",
        404 => "NotFound",
        409 => "Conflict",
        429 => "RateLimitQuota",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    }
}
