//! What is refused for its headers alone, before any service sees it.

use std::{collections::HashSet, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use tonic::body::Body;

use crate::grpc::{methods, status};

/// Most that the headers may take which every call has, in bytes: path, authority, content type,
/// timeout, user agent and so on.
const USUAL_HEADERS: usize = 2 * 1024;

/// What each field of a header list counts beside its name and value, in bytes (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// The limit that HTTP/2 itself holds a client to, which answers a bare 431. It is above ours, so that
/// there is room for an answer that gRPC clients understand.
pub(super) fn http2_limit(max_header_list: u32) -> u32 {
    let usual = u32::try_from(USUAL_HEADERS).unwrap_or(u32::MAX);
    max_header_list.saturating_add(usual).saturating_mul(2)
}

/// Looks at the headers of each request.
#[derive(Clone, Debug)]
pub(super) struct HeaderCheck {
    methods: Arc<HashSet<String>>,
    max_header_list: usize,
}

impl HeaderCheck {
    /// Takes up to `max_header_list` bytes of headers beside the usual ones.
    pub fn new(max_header_list: u32) -> Self {
        let max_header_list = usize::try_from(max_header_list).unwrap_or(usize::MAX);
        Self {
            methods: Arc::new(methods::names().into_iter().collect()),
            max_header_list: max_header_list.saturating_add(USUAL_HEADERS),
        }
    }

    /// The answer to a request that is refused.
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        if size(request.headers()) > self.max_header_list {
            return Some(status::headers_too_large().into_http());
        }
        let method = request.uri().path().trim_start_matches('/');
        if request.method() == Method::POST
            && !is_grpc(request.headers())
            && self.methods.contains(method)
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
    fn what_begins_like_grpc_need_not_be_grpc() {
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
