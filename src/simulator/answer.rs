//! An answer before it is sent, and the forms of the vendor's errors.

use std::{
    io::{self, Read},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use flate2::{Compression, read::GzEncoder};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::ext::ReasonPhrase;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::config::simulate::{EncodingForm, ErrorBody};

#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub status: u16,
    /// The reason phrase, if it is not the standard one.
    pub reason: Option<String>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// How the body is encoded, unless a fault replaces it.
    pub encoding: Option<EncodingForm>,
    /// The time over which the body is sent.
    pub duration: Duration,
}

/// The number of pieces of a body that is sent over some time.
const PIECES: u32 = 100;

impl Answer {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::empty(status) }.header("content-type", content_type)
    }

    pub(super) fn json(text: impl Into<Vec<u8>>) -> Self {
        Self::new(200, "application/json;charset=UTF-8", text)
    }

    /// A web page such as a proxy sends.
    pub(super) fn page(status: u16) -> Self {
        let code = StatusCode::from_u16(status).unwrap_or_default();
        let title = format!("{status} {}", code.canonical_reason().unwrap_or_default());
        let text = format!(
            "<!DOCTYPE html>\n<html><head><title>{title}</title></head>\
             <body><h1>{title}</h1><hr>proxy</body></html>\n"
        );
        Self::new(status, "text/html", text)
    }

    pub(super) fn error(status: u16, form: ErrorBody, code: &str, message: &str) -> Self {
        let (code, message) = (quoted(code), quoted(message));
        let incident = quoted("5ab5cd4e-2cc8-4f4e-9d3d-1d0ec5c3a0a1");
        let text = match form {
            ErrorBody::Product => {
                format!(r#"{{"errorCode":{code},"description":{message},"incident":{incident}}}"#)
            }
            ErrorBody::Gateway => format!(r#"{{"int_err_code":{code},"msg":{message}}}"#),
            ErrorBody::Route => format!(r#"{{"errorCode":{code},"message":{message}}}"#),
            ErrorBody::Oauth => format!(r#"{{"error":{code},"error_description":{message}}}"#),
            ErrorBody::Html => return Self::page(status),
            ErrorBody::Empty => return Self::empty(status),
        };
        Self { status, ..Self::json(text) }
    }

    /// Sets a header field. A value that HTTP does not allow is left out.
    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Ok(value) = HeaderValue::try_from(value.into()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets the header fields that every answer has: the id of the request with this number, and
    /// the date.
    #[must_use]
    pub(super) fn with_id_and_date(self, number: u64, now: Timestamp) -> Self {
        self.header("x-amzn-requestid", format!("00000000-0000-4000-8000-{number:012}"))
            .header("date", http_date(now))
    }

    /// Encodes the body as [`Answer::encoding`] says.
    #[must_use]
    pub(super) fn encoded(mut self) -> Self {
        let (name, members) = match self.encoding {
            None => return self,
            Some(EncodingForm::Identity) => return self.header("content-encoding", "identity"),
            Some(EncodingForm::Gzip) => ("gzip", 1),
            Some(EncodingForm::UpperGzip) => ("GZIP", 1),
            Some(EncodingForm::XGzip) => ("x-gzip", 1),
            Some(EncodingForm::GzipMembers) => ("gzip", 3),
        };
        let length = self.body.len().div_ceil(members).max(1);
        self.body = self.body.chunks(length).flat_map(gzip).collect();
        self.header("content-encoding", name)
    }

    /// The head as HTTP/1 writes it, without the empty line at its end.
    pub(super) fn head(&self, version: &str) -> Vec<u8> {
        let code = StatusCode::from_u16(self.status).unwrap_or_default();
        let reason = code.canonical_reason().unwrap_or_default();
        let mut head = format!("{version} {} {reason}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        head
    }

    pub(super) fn into_response(mut self) -> Response {
        let (body, duration) = (std::mem::take(&mut self.body), self.duration);
        self.with_body(if duration.is_zero() { Body::from(body) } else { slow(body, duration) })
    }

    /// The answer with another body in place of its own.
    pub(super) fn with_body(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        *response.headers_mut() = self.headers;
        if let Some(Ok(reason)) = self.reason.map(|text| ReasonPhrase::try_from(text.into_bytes()))
        {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// A body that is sent in equal pieces over some time.
fn slow(body: Vec<u8>, duration: Duration) -> Body {
    let length = body.len().div_ceil(PIECES as usize).max(1);
    let pieces = stream::unfold(Bytes::from(body), move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        sleep(duration / PIECES).await;
        let piece = rest.split_to(length.min(rest.len()));
        Some((io::Result::Ok(piece), rest))
    });
    Body::from_stream(pieces)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    // Reading from memory does not fail.
    let _ = GzEncoder::new(bytes, Compression::fast()).read_to_end(&mut packed);
    packed
}

/// `text` as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A time as HTTP writes it (RFC 9110 §5.6.7).
pub(super) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
