//! Refuses requests because of their headers, before any service sees them.

use http::{HeaderMap, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use tonic::body::Body;

use crate::grpc::{methods, status};

/// The allowance in bytes for the headers that every call has, such as path, authority, content
/// type, timeout and user agent.
const USUAL_HEADERS: usize = 2 * 1024;

/// The overhead of each field of a header list in bytes (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Returns the limit that the HTTP/2 layer enforces with a bare 431. It is above our own limit, so
/// that most clients get an error that gRPC understands instead.
pub(super) fn http2_limit(max_header_list: u32) -> u32 {
    let usual = u32::try_from(USUAL_HEADERS).unwrap_or(u32::MAX);
    max_header_list.saturating_add(usual).saturating_mul(2)
}

/// Checks the headers of each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderCheck {
    max_header_list: usize,
}

impl HeaderCheck {
    /// Allows up to `max_header_list` bytes of headers in addition to the usual ones.
    pub fn new(max_header_list: u32) -> Self {
        let max_header_list = usize::try_from(max_header_list).unwrap_or(usize::MAX);
        Self { max_header_list: max_header_list.saturating_add(USUAL_HEADERS) }
    }

    /// Returns the response to a request that must be refused.
    pub fn refusal<B>(self, request: &Request<B>) -> Option<Response<Body>> {
        if size(request.headers()) > self.max_header_list {
            return Some(status::headers_too_large().into_http());
        }
        let method = request.uri().path().trim_start_matches('/');
        if request.method() == Method::POST
            && !is_grpc(request.headers())
            && methods::names().iter().any(|name| name == method)
        {
            let mut response = status::content_type_unsupported().into_http();
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Some(response);
        }
        None
    }
}

fn size(headers: &HeaderMap) -> usize {
    let size = |name: &str, value: &[u8]| name.len() + value.len() + FIELD_OVERHEAD;
    headers.iter().map(|(name, value)| size(name.as_str(), value.as_bytes())).sum()
}

/// Whether the content type is `application/grpc` or `application/grpc+proto`, with or without
/// parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["application/grpc", "application/grpc+proto"]
        .iter()
        .any(|grpc| kind.eq_ignore_ascii_case(grpc))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_content_types_of_grpc_are_accepted() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc+proto;a=b", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpc+json", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            assert_eq!(is_grpc(&headers), expected, "{text}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
