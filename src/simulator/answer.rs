//! An answer before it is on the wire, and the error bodies of the vendor and its relatives.

use std::io::{self, Write};

use axum::{body::Body, response::Response};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::ext::ReasonPhrase;
use jiff::Timestamp;

use super::shape::quoted;
use crate::config::simulate::{EncodingForm, ErrorBody};

/// The header with the id of the request, as the vendor's gateway is likely to send it: its errors
/// carry `x-amzn-errortype`.
const REQUEST_ID: &str = "x-amzn-requestid";

/// What the vendor says to a request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub reason: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// How the body may be encoded.
    pub encoding: Option<EncodingForm>,
}

impl Answer {
    pub(super) fn json(text: impl Into<Vec<u8>>) -> Self {
        Self::new(200, "application/json;charset=UTF-8", text)
    }

    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", content_type.into())];
        Self { headers, body: body.into(), ..Self::empty(status) }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, reason: None, headers: Vec::new(), body: Vec::new(), encoding: None }
    }

    /// An error in one of the forms in which the vendor's relatives were seen to answer.
    pub(super) fn error(status: u16, form: ErrorBody, code: &str, message: &str) -> Self {
        let (code, message) = (quoted(code), quoted(message));
        let text = match form {
            ErrorBody::Product => {
                let incident = quoted("5ab5cd4e-2cc8-4f4e-9d3d-1d0ec5c3a0a1");
                format!(r#"{{"errorCode":{code},"description":{message},"incident":{incident}}}"#)
            }
            ErrorBody::Gateway => format!(r#"{{"int_err_code":{code},"msg":{message}}}"#),
            ErrorBody::Route => format!(r#"{{"errorCode":{code},"message":{message}}}"#),
            ErrorBody::Oauth => format!(r#"{{"error":{code},"error_description":{message}}}"#),
            ErrorBody::Html => return Self::new(status, "text/html", page(status)),
            ErrorBody::Empty => return Self::empty(status),
        };
        Self { status, ..Self::json(text) }
    }

    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same, as the answer to the given request at this time.
    #[must_use]
    pub(super) fn of_request(self, number: u64, time: Timestamp) -> Self {
        self.header(REQUEST_ID, format!("00000000-0000-4000-8000-{number:012}"))
            .header("date", http_date(time))
    }

    /// The header fields that every answer to the same request carries.
    pub(super) fn signature(&self) -> Vec<(&'static str, String)> {
        let is_kept = |name: &str| matches!(name, REQUEST_ID | "date");
        self.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect()
    }

    /// The same, with those of them that it lacks.
    #[must_use]
    pub(super) fn signed(mut self, signature: Vec<(&'static str, String)>) -> Self {
        for (name, value) in signature {
            if !self.headers.iter().any(|(known, _)| *known == name) {
                self.headers.push((name, value));
            }
        }
        self
    }

    /// The same, for [`Answer::encoded`].
    #[must_use]
    pub(super) fn encodable(self, encoding: Option<EncodingForm>) -> Self {
        Self { encoding, ..self }
    }

    /// The same, encoded as it may be.
    #[must_use]
    pub(super) fn encoded(mut self) -> Self {
        let (name, members) = match self.encoding {
            None => return self,
            Some(EncodingForm::Gzip) => ("gzip", 1),
            Some(EncodingForm::UpperGzip) => ("GZIP", 1),
            Some(EncodingForm::XGzip) => ("x-gzip", 1),
            Some(EncodingForm::GzipMembers) => ("gzip", 3),
            Some(EncodingForm::Identity) => ("identity", 0),
        };
        if members > 0 {
            let length = self.body.len().div_ceil(members).max(1);
            let packed: io::Result<Vec<_>> = self.body.chunks(length).map(gzip).collect();
            // Writing to memory does not fail; if it did, the body would go out as it is.
            let Ok(packed) = packed else { return self };
            self.body = packed.concat();
        }
        self.header("content-encoding", name)
    }

    /// The head as it goes over the wire in HTTP/1, without the empty line at its end.
    pub(super) fn head(&self, version: &str) -> String {
        let code = StatusCode::from_u16(self.status).unwrap_or_default();
        let reason = self.reason.as_deref().or_else(|| code.canonical_reason()).unwrap_or_default();
        let mut head = format!("{version} {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head
    }

    /// The answer with another body stream in place of its own.
    pub(super) fn with_body(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let headers: &mut HeaderMap = response.headers_mut();
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        if let Some(Ok(reason)) = self.reason.map(|text| ReasonPhrase::try_from(text.into_bytes()))
        {
            response.extensions_mut().insert(reason);
        }
        response
    }

    pub(super) fn into_response(mut self) -> Response {
        let body = std::mem::take(&mut self.body);
        self.with_body(Body::from(body))
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// A page as proxies make them.
pub(super) fn page(status: u16) -> String {
    let code = StatusCode::from_u16(status).unwrap_or_default();
    let reason = code.canonical_reason().unwrap_or_default();
    format!(
        "<!DOCTYPE html>\n<html><head><title>{status} {reason}</title></head>\
         <body><h1>{status} {reason}</h1><hr>proxy</body></html>\n"
    )
}

/// A time as HTTP writes it (RFC 9110 §5.6.7).
pub(super) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
