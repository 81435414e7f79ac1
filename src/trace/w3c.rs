//! Reads and writes trace contexts in headers, in the form of W3C Trace Context.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is kept, in bytes. This is the minimum that W3C Trace Context
/// §3.3.1.5 asks for. It is short because each watch keeps it in memory.
const TRACESTATE_LIMIT: usize = 512;

/// The trace context of the caller. It is empty if the headers have no valid one.
pub(super) fn read(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Read(headers))
}

/// The headers that let another service join this trace.
pub(super) fn headers(context: &SpanContext) -> HeaderMap {
    let mut headers = Write(HeaderMap::new());
    let context = Context::new().with_remote_span_context(context.clone());
    TraceContextPropagator::new().inject_context(&context, &mut headers);
    headers.0
}

struct Read<'a>(&'a HeaderMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        (key != TRACESTATE || value.len() <= TRACESTATE_LIMIT).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Write(HeaderMap);

impl Injector for Write {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::try_from(value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn passed_on(parent: &str, state: &str) -> Option<(String, Option<String>)> {
        let given = [("traceparent", parent), (TRACESTATE, state)];
        let given = given.map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        let context = read(&HeaderMap::from_iter(given));
        let headers = headers(context.span().span_context());
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Some((text("traceparent")?, text(TRACESTATE)))
    }

    #[test]
    fn what_comes_in_goes_out() {
        let passed = passed_on(PARENT, "a=b,c=d");
        assert_eq!(passed, Some((PARENT.to_owned(), Some("a=b,c=d".to_owned()))));
    }

    #[test]
    fn a_state_that_is_too_long_is_left_out_and_the_trace_is_not() {
        let long = format!("a={}", "x".repeat(TRACESTATE_LIMIT));
        assert_eq!(passed_on(PARENT, &long), Some((PARENT.to_owned(), None)));
    }

    #[test]
    fn what_cannot_be_read_is_no_trace() {
        for parent in ["", "00-MARK-trace-01", "00-0-0-0", &PARENT.to_uppercase(), &PARENT[..40]] {
            assert_eq!(passed_on(parent, "a=b"), None, "{parent}");
        }
    }
}
