//! Plays a fault: turns the right answer into what goes over the wire.
//!
//! What HTTP can say goes out through hyper. The rest is a list of moves on the bare socket; where
//! there is none (HTTP/2, or no socket at all), the body breaks off instead.

use std::{future::pending, io, time::Duration};

use axum::{body::Body, response::Response};
use futures_util::stream;
use serde_json::{Map, Value, value::to_raw_value};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

use super::{
    answer::{Answer, http_date, page},
    fault::{Fault, RetryAfter},
    life::Fields,
    shape::quoted,
    wire::Takeover,
};
use crate::{clock::Clock, config::simulate::EncodingForm};

/// What the bodies of played errors say.
const MESSAGE: &str = "Simulated fault";

/// How long one of many additional fields is.
const BULK: usize = 10_000;

/// The answer to a request that a fault strikes, `right` being the right one.
pub(super) async fn play(
    fault: Fault,
    right: Answer,
    takeover: Option<Takeover>,
    clock: Clock,
) -> Response {
    if fault == Fault::Hang {
        return pending().await;
    }
    let Some(moves) = moves(&fault, &right) else {
        let kept = right.signature();
        return altered(fault, right, clock).signed(kept).into_response();
    };
    match takeover.and_then(|takeover| takeover.take()) {
        Some(stream) => {
            // An error means that the client has gone, which may well be its answer.
            let _ = perform(moves, stream).await;
            Answer::empty(200).into_response()
        }
        None => without_socket(&fault, right),
    }
}

/// What a fault makes of the right answer, if it is something that HTTP can say.
fn altered(fault: Fault, right: Answer, clock: Clock) -> Answer {
    match fault {
        Fault::Status { status, body, code, reason, retry_after, retry_after_date } => {
            let code = code.as_deref().unwrap_or(default_code(status));
            let at = retry_after_date.map(|seconds| {
                let delay = jiff::SignedDuration::from_secs(seconds);
                http_date(clock.now().saturating_add(delay).unwrap_or_default())
            });
            let value = retry_after.map(|value| match value {
                RetryAfter::Seconds(seconds) => seconds.to_string(),
                RetryAfter::Text(text) => text,
            });
            let mut answer = Answer::error(status, body, code, MESSAGE);
            answer.reason = reason;
            answer.headers.extend(value.or(at).map(|value| ("retry-after", value)));
            answer
        }
        Fault::Redirect { status, location } => Answer::empty(status).header("location", location),
        Fault::HalfSession => kept(right, &["sessionId", "status"]),
        Fault::HollowSession => kept(right, &["sessionId"]),
        Fault::Maintenance { message } => {
            Answer::json(format!(r#"{{"message":{}}}"#, quoted(&message)))
        }
        Fault::EmptyObject => Answer::json("{}"),
        Fault::Null => Answer::json("null"),
        Fault::ErrorObject { body, code } => {
            let message = if code == "InvalidToken" { "Invalid token passed" } else { MESSAGE };
            Answer { status: 200, ..Answer::error(400, body, &code, message) }
        }
        Fault::NoContent => Answer::empty(204),
        Fault::EmptyBody => Answer { body: Vec::new(), ..right },
        Fault::Html => Answer::new(200, "text/html", page(200)),
        Fault::Body { text, content_type } => Answer::new(200, &content_type, text),
        Fault::BadJson => {
            let half = right.body.len() / 2;
            changed(right, |body| body.truncate(half))
        }
        Fault::DuplicateKeys => added(right, br#""status":"abandoned","accountKey":-1"#),
        Fault::DeepNesting { depth } => {
            let field = format!(r#""nested":{}{}"#, "[".repeat(depth), "]".repeat(depth));
            added(right, field.as_bytes())
        }
        Fault::ManyUnknownFields { bytes } => added(right, many_fields(bytes).as_bytes()),
        Fault::ByteOrderMark => changed(right, |body| drop(body.splice(..0, *b"\xef\xbb\xbf"))),
        Fault::InvalidUtf8 => added(right, b"\"expertName\":\"\xff\xfe\xc3\x28\""),
        Fault::Oversized { bytes } => padded(right, bytes),
        Fault::GzipBomb { bytes } => {
            padded(right, bytes).encodable(Some(EncodingForm::Gzip)).encoded()
        }
        Fault::Fields { fields } => with_fields(right, fields),
        // Those of another time, shape or session were decided when the right answer was made; the
        // others, in `play`.
        Fault::Right
        | Fault::Stale { .. }
        | Fault::Shape(_)
        | Fault::ForeignSession { .. }
        | Fault::Hang
        | Fault::HalfBody
        | Fault::HalfChunk
        | Fault::Reset
        | Fault::ResetHalfway
        | Fault::Close
        | Fault::EndlessHeaders
        | Fault::Trickle { .. }
        | Fault::Http10
        | Fault::Informational { .. }
        | Fault::Garbage => right,
    }
}

/// What is done with a bare socket.
enum Move {
    Send(Vec<u8>),
    Trickle(Vec<u8>, Duration),
    Forever(Vec<u8>),
    Wait(Duration),
    Reset,
}

/// What a fault does with a bare socket; `None` if it needs none.
fn moves(fault: &Fault, right: &Answer) -> Option<Vec<Move>> {
    let (half, whole) = (&right.body[..right.body.len() / 2], &right.body[..]);
    let moves = match fault {
        Fault::HalfBody => vec![Move::Send(sized(right, half))],
        Fault::HalfChunk => {
            let head = right.head("HTTP/1.1");
            let head = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n", half.len());
            vec![Move::Send([head.as_bytes(), half, b"\r\n"].concat())]
        }
        Fault::Reset => vec![Move::Reset],
        Fault::ResetHalfway => vec![
            Move::Send(sized(right, half)),
            // A reset overtakes bytes that the peer has not read yet.
            Move::Wait(Duration::from_millis(100)),
            Move::Reset,
        ],
        Fault::Close => Vec::new(),
        Fault::EndlessHeaders => vec![
            Move::Send(right.head("HTTP/1.1").into_bytes()),
            Move::Forever(format!("x-endless: {}\r\n", "a".repeat(1000)).into_bytes()),
        ],
        Fault::Trickle { seconds } => {
            vec![Move::Trickle(sized(right, whole), duration(*seconds))]
        }
        Fault::Http10 => {
            let head = format!("{}\r\n", right.head("HTTP/1.0"));
            vec![Move::Send([head.as_bytes(), whole].concat())]
        }
        Fault::Informational { status, times } => {
            let interim = format!("{}\r\n", Answer::empty(*status).head("HTTP/1.1"));
            let interim = interim.repeat(*times).into_bytes();
            vec![Move::Send(interim), Move::Send(sized(right, whole))]
        }
        Fault::Garbage => vec![Move::Send(b"\x00\x01not HTTP at all\xff\r\n\r\n".to_vec())],
        Fault::Right
        | Fault::Stale { .. }
        | Fault::Shape(_)
        | Fault::ForeignSession { .. }
        | Fault::HalfSession
        | Fault::HollowSession
        | Fault::Maintenance { .. }
        | Fault::EmptyObject
        | Fault::Null
        | Fault::ErrorObject { .. }
        | Fault::ManyUnknownFields { .. }
        | Fault::ByteOrderMark
        | Fault::Hang
        | Fault::Status { .. }
        | Fault::Redirect { .. }
        | Fault::NoContent
        | Fault::EmptyBody
        | Fault::Html
        | Fault::Body { .. }
        | Fault::BadJson
        | Fault::DuplicateKeys
        | Fault::DeepNesting { .. }
        | Fault::InvalidUtf8
        | Fault::Oversized { .. }
        | Fault::GzipBomb { .. }
        | Fault::Fields { .. } => return None,
    };
    Some(moves)
}

/// The head with the length of the right body, and this much of it.
fn sized(right: &Answer, body: &[u8]) -> Vec<u8> {
    let (head, length) = (right.head("HTTP/1.1"), right.body.len());
    let head = format!("{head}content-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

async fn perform(moves: Vec<Move>, mut stream: TcpStream) -> io::Result<()> {
    for next in moves {
        match next {
            Move::Send(bytes) => stream.write_all(&bytes).await?,
            Move::Trickle(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    sleep(pause).await;
                }
            }
            Move::Forever(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
            Move::Wait(pause) => sleep(pause).await,
            // Closing with a linger time of zero sends RST instead of FIN.
            Move::Reset => return stream.set_zero_linger(),
        }
    }
    stream.shutdown().await
}

/// The nearest to a fault of the socket that can be had without one.
fn without_socket(fault: &Fault, mut right: Answer) -> Response {
    let body = std::mem::take(&mut right.body);
    if let Fault::Trickle { seconds } = *fault {
        let bytes = stream::unfold(body.into_iter(), move |mut rest| async move {
            let byte = rest.next()?;
            sleep(duration(seconds)).await;
            Some((io::Result::Ok(vec![byte]), rest))
        });
        return right.with_body(Body::from_stream(bytes));
    }
    if matches!(fault, Fault::Http10 | Fault::Informational { .. }) {
        return right.with_body(Body::from(body));
    }
    let is_halfway = matches!(fault, Fault::HalfBody | Fault::HalfChunk | Fault::ResetHalfway);
    let sent = if is_halfway { body[..body.len() / 2].to_vec() } else { Vec::new() };
    let parts = [Ok(sent), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    right.with_body(Body::from_stream(stream::iter(parts)))
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The right answer with another body.
fn changed(mut right: Answer, change: impl FnOnce(&mut Vec<u8>)) -> Answer {
    change(&mut right.body);
    right
}

/// The right answer with another field at the end of its object; of a list, at the end of its
/// last object.
fn added(right: Answer, field: &[u8]) -> Answer {
    changed(right, |body| {
        if let Some(end) = body.iter().rposition(|byte| *byte == b'}') {
            let is_first = body[..end].ends_with(b"{");
            let comma: &[u8] = if is_first { b"" } else { b"," };
            body.splice(end..end, [comma, field].concat());
        }
    })
}

/// The right answer with these fields in its object; an answer that is no object stays.
fn with_fields(right: Answer, fields: Map<String, Value>) -> Answer {
    changed(right, |body| {
        if let Ok(mut object) = serde_json::from_slice::<Fields>(body) {
            let fields = fields.into_iter();
            object.extend(
                fields.filter_map(|(name, value)| Some((name, to_raw_value(&value).ok()?))),
            );
            *body = serde_json::to_vec(&object).unwrap_or_default();
        }
    })
}

fn padded(right: Answer, bytes: usize) -> Answer {
    added(right, format!(r#""padding":"{}""#, "a".repeat(bytes)).as_bytes())
}

/// The right answer with these fields of its object only; an error stays as it is.
fn kept(right: Answer, names: &[&str]) -> Answer {
    if right.status != 200 {
        return right;
    }
    changed(right, |body| {
        if let Ok(mut fields) = serde_json::from_slice::<Fields>(body) {
            fields.retain(|name, _| names.contains(&name.as_str()));
            *body = serde_json::to_vec(&fields).unwrap_or_default();
        }
    })
}

/// Fields of this length together. A small number is two bytes of JSON and several times as many
/// in most other formats.
fn many_fields(bytes: usize) -> String {
    let length = |number: usize| (bytes - number * BULK).min(BULK);
    // At least one: what comes behind the comma must be a field.
    let fields = (0..bytes.div_ceil(BULK).max(1)).map(|number| {
        let numbers = length(number).saturating_sub(r#""unknown0000":[1],"#.len()) / 2;
        format!(r#""unknown{number:04}":[1{}]"#, ",1".repeat(numbers))
    });
    fields.collect::<Vec<_>>().join(",")
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
